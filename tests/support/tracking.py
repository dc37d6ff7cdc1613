"""What MLflow shows of the one run of a store."""

from mlflow.tracking import MlflowClient


def shown(store):
    """A client, and the one run."""
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("g2rpo").experiment_id])
    return client, run


def steps_of(store):
    """The steps of each metric, in order."""
    return {name: [entry.step for entry in history] for name, history in _histories(store).items()}


def values_of(store):
    """Each metric by step."""
    histories = _histories(store)
    return {name: {entry.step: entry.value for entry in history} for name, history in histories.items()}


def _histories(store):
    """The history of each metric of the run."""
    client, run = shown(store)
    return {name: client.get_metric_history(run.info.run_id, name) for name in of_the_run(run)}


def of_the_run(run):
    """The last value of each metric but those of the machine, which no repetition has."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


def images_of(store):
    """The pictures, by key and step."""
    client, run = shown(store)
    names = [image.path.split("/")[-1] for image in client.list_artifacts(run.info.run_id, "images")]
    return sorted(name.split("+")[0] + "+" + name.split("+")[2] for name in names if name.endswith(".png"))
