"""Requests to Prefect and MLflow with the login of the variables that name them."""

import requests


def session_of(variables):
    """Requests that log in as the variables of `g2rpo status --env` say."""
    session = requests.Session()
    session.auth = tuple(variables["PREFECT_API_AUTH_STRING"].split(":", 1))
    return session


def ask(server, path, body=None):
    """Prefect's answer: to a body that is posted, or to a plain GET."""
    url = f"{server['PREFECT_API_URL']}/{path}"
    with session_of(server) as session:
        got = session.get(url, timeout=60) if body is None else session.post(url, json=body, timeout=60)
    got.raise_for_status()
    return got.json()
