import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from tiny import ROOT

from flows.services.automations import read_automations


@pytest.fixture
def client(prefect_in_process):
    with temporary_settings({PREFECT_API_URL: prefect_in_process}), get_client(sync_client=True) as client:
        yield client


def written(path, *actions, name="guard", **changes):
    trigger = {"type": "event", "posture": "Reactive", "expect": ["g2rpo.guard.tripped"], "threshold": 1, "within": 0}
    tree = {"name": name, "trigger": trigger, "actions": list(actions)}
    path.write_text(yaml.safe_dump({"automations": [tree | changes]}))
    return path


def sends(block):
    return {"type": "send-notification", "block": block, "subject": "a guard has tripped", "body": "after round 3"}


def test_the_shipped_file_has_three_automations_of_which_one_waits_for_a_block(client):
    said = []
    zombie, crash, guard = read_automations(client, ROOT / "automations.yaml", said.append)
    assert [one.name for one in (zombie, crash, guard)] == ["g2rpo zombie", "g2rpo crash", "g2rpo guard"]
    assert (zombie.trigger.within.total_seconds(), zombie.actions[0].state.value) == (540, "CRASHED")
    assert zombie.trigger.match_related["prefect.resource.id"] == ["prefect.tag.g2rpo"]
    assert (crash.actions[0].name, crash.actions[0].state.value) == ("AwaitingRetry", "SCHEDULED")
    assert (crash.trigger.within.total_seconds(), crash.trigger.after) == (20, {"prefect.flow-run.Crashed"})
    assert crash.trigger.match_related["prefect.resource.id"] == ["prefect.tag.g2rpo"]
    assert guard.trigger.expect == {"g2rpo.guard.tripped"}
    assert [action.type for action in guard.actions] == ["do-nothing"]
    told = "automation g2rpo guard: it sends nothing until you create the notification block 'g2rpo-guard'"
    assert said == [told]


def test_a_block_that_is_there_is_named_by_its_id_and_the_other_actions_stay(client, tmp_path):
    block = CustomWebhookNotificationBlock(name="ours", url="http://127.0.0.1:9/", json_data={}, secrets={})
    there, said = block.save("ours", client=client), []
    file = written(tmp_path / "automations.yaml", sends("ours"), {"type": "do-nothing"}, sends("theirs"))
    (read,) = read_automations(client, file, said.append)
    assert [action.type for action in read.actions] == ["send-notification", "do-nothing"]
    assert read.actions[0].block_document_id == there
    assert read.actions[0].subject == "a guard has tripped"
    assert said == ["automation guard: it sends nothing until you create the notification block 'theirs'"]


def test_what_prefect_does_not_know_is_refused_with_the_file_and_the_automation(client, tmp_path):
    file = written(tmp_path / "automations.yaml", {"type": "dance"}, name="odd")
    with pytest.raises(ValueError, match=rf"^{file}: automation odd: .*(?s:.*)dance.*(?s:.*)\. Correct it\.$"):
        read_automations(client, file, print)


@pytest.mark.parametrize(
    "text", ["automations: 3", "automations: [3]", "automations: [{name: a}]", "automations: [{name: a, actions: [3]}]"]
)
def test_what_holds_no_automations_is_refused(client, tmp_path, text):
    (tmp_path / "automations.yaml").write_text(text)
    with pytest.raises(
        ValueError, match=r"automations must be a list, each with a name and a list of actions. Correct"
    ):
        read_automations(client, tmp_path / "automations.yaml", print)
