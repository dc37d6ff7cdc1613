"""What a person finds on Prefect's and MLflow's pages, with a real browser. Screenshots: build/screenshots/."""

import json

import pytest
from browser import chromium
from command_line import CommandLine
from services import Up

pytestmark = pytest.mark.slow

ROUNDS = 4


@pytest.fixture(scope="module")
def browser(up):
    """A browser in which a person has logged in."""
    with chromium(up) as opened:
        yield opened


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """The servers, with a run that was trained under them, in two goes, and whose policy is registered."""
    servers = Up(CommandLine(tmp_path_factory.mktemp("pages") / "store"))
    sampled = {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}
    for rounds in (2, ROUNDS):
        servers.g2rpo.train(f"run.rounds={rounds}", "evaluate.every=2", **servers.environment, **sampled)
    words = ("--run", servers.run().key, "--to", str(servers.g2rpo.store / "policy"), "--register", "shapes")
    done = servers.g2rpo("export", *words, "--alias", "champion", **servers.environment)
    assert done.returncode == 0, done.stderr
    assert "models:/shapes@champion is version 1" in done.stdout
    yield servers
    servers.g2rpo("down")


def artifact(up, key):
    """The address of an artifact's page."""
    found = up.http.post(f"{up.api}/artifacts/latest/filter", json={"limit": 20}, timeout=60).json()
    (it,) = [one for one in found if one["key"] == f"{key}-{up.run().key}"]
    return f"{up.api.removesuffix('/api')}/artifacts/artifact/{it['latest_id']}"


def shown_in_mlflow(up, path=""):
    return f"{up.run().links['mlflow_url']}{path}"


def test_prefects_page_of_a_run_shows_each_stage_of_each_round_by_name(up, browser):
    flow_run = up.run().links["prefect_flow_run_id"]
    with browser.page(f"{up.api.removesuffix('/api')}/runs/flow-run/{flow_run}", "prefect-run") as page:
        page.get_by_text(f"train-{up.run().key}").first.wait_for()
        page.get_by_role("tab", name="Task Runs").or_(page.get_by_text("Task Runs", exact=True)).first.click()
        page.get_by_text(f"update-r{ROUNDS - 1:04d}").first.wait_for()
        page.get_by_text("Completed").first.wait_for()


def test_prefects_table_has_a_row_a_round_with_its_rewards(up, browser):
    with browser.page(artifact(up, "rounds"), "prefect-rounds") as page:
        page.get_by_text("tuning rule_strict").first.wait_for()
        rows = page.get_by_role("row").all_inner_texts()
    values = up.run().metrics()[ROUNDS - 1]["reward/judge_a/mean"]
    assert len([row for row in rows if row.strip()]) == 1 + 1 + ROUNDS  # heads, the base, rounds
    assert any(str(round(values, 5)) in row for row in rows)


def test_prefects_card_leads_to_mlflow_to_the_pictures_and_to_the_next_command(up, browser):
    with browser.page(artifact(up, "run"), "prefect-card") as page:
        link = page.get_by_role("link", name="Curves, parameters, figures and pictures in MLflow")
        link.wait_for()
        assert link.get_attribute("href") == shown_in_mlflow(up)
        pictures = page.locator("img[src*='get-artifact']")
        links = [up.run().links[f"mlflow_picture_{when}"] for when in ("before", "after")]
        for place, linked in enumerate(links):
            picture = pictures.nth(place)
            assert picture.get_attribute("src") == linked
            page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
        page.get_by_text(f"g2rpo export --run {up.run().key[:8]}").first.wait_for()


def view(up, page, link):
    """Follow a link of the experiment's description in the same tab."""
    page.goto(f"{shown_in_mlflow(up).split('/runs/')[0]}/runs")
    found = page.get_by_role("link", name=link)
    found.wait_for()
    address = found.get_attribute("href")
    page.goto("about:blank")  # a change of the part after # alone would load nothing
    page.goto(f"{up.mlflow}/{address}")
    page.get_by_text("You're viewing a shared view").wait_for()


def test_mlflows_experiment_opens_on_rounds_rewards_and_settings(up, browser):
    with browser.page(shown_in_mlflow(up), "mlflow-experiment") as page:
        view(up, page, "their rounds, rewards and settings")
        for column in ("rounds", "held_out/tuning/judge_a", "held_out/tuning/rule_soft"):
            page.get_by_role("columnheader", name=column, exact=True).first.wait_for()
        page.get_by_role("gridcell", name=str(ROUNDS), exact=True).first.wait_for()


def test_mlflow_shows_the_pictures_of_the_base_and_of_each_judged_round_by_a_slider(up, browser):
    with browser.page(shown_in_mlflow(up), "mlflow-pictures") as page:
        view(up, page, "their pictures round by round, and curves")
        page.get_by_text("pictures of held-out prompts").wait_for()
        slider = page.get_by_role("slider").first
        for policy_round in (0, 2, ROUNDS):
            picture = page.locator(f"img[src*='held_out_tuning%2Bstep%2B{policy_round}%2B']").first
            picture.wait_for()
            page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
            slider.press("ArrowRight")


def test_mlflows_page_of_a_run_says_how_to_reproduce_it(up, browser):
    with browser.page(shown_in_mlflow(up), "mlflow-run") as page:
        page.get_by_text("g2rpo train --params params.yaml").first.wait_for()
        page.get_by_text("prompts/train").first.wait_for()
        page.get_by_text("shapes").first.wait_for()
        page.get_by_text("Finished").first.wait_for()


def test_mlflow_has_a_table_of_what_each_prompt_got(up, browser):
    with browser.page(shown_in_mlflow(up, f"/artifacts/evaluations/tuning-r{ROUNDS:04d}.json"), "mlflow-table") as page:
        page.get_by_text("judge_a", exact=True).first.wait_for()
        page.get_by_text("a red circle").first.wait_for()


def test_mlflow_has_the_exported_policy_under_its_name_and_alias(up, browser):
    with browser.page(f"{up.mlflow}/#/models/shapes", "mlflow-model") as page:
        page.get_by_text("champion").first.wait_for()
        page.get_by_text("Version 1").first.wait_for()


def test_what_the_machine_did_is_in_mlflow(up):
    asked = {"run_id": up.run().links["mlflow_run_id"]}
    data = up.http.get(f"{up.mlflow}/api/2.0/mlflow/runs/get", params=asked, timeout=60).json()["run"]["data"]
    assert "system/cpu_utilization_percentage" in json.dumps(data["metrics"])
