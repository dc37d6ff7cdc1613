from refusals import refusal, shipped


def test_a_run_is_shown_in_an_experiment_of_a_server_or_of_the_store():
    assert shipped("tracking.experiment=mine", "tracking.uri=null").tracking.experiment == "mine"
    assert shipped("tracking.uri=http://127.0.0.1:5000").tracking.uri == "http://127.0.0.1:5000"
    assert "tracking.experiment: input should be a valid string, got 3" in refusal("tracking.experiment=3")
