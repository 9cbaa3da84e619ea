"""What the official `fireworks-ai` client raises for what this server answers."""

import fireworks
import pytest
from conftest import BASE
from fireworks import Fireworks


@pytest.fixture
def client(server):
    return Fireworks(base_url=server.base_url, api_key=server.key, account_id="main", max_retries=0)


def test_absent_resources_are_not_found(client):
    for get in (client.models.get, client.datasets.get, client.deployments.get, client.lora.get, client.reinforcement_fine_tuning_steps.get):
        with pytest.raises(fireworks.NotFoundError) as e:
            get("never-made")
        assert "not found" in str(e.value) and e.value.body["code"] == 5 and e.value.body["details"] == []


def test_wrong_keys_are_refused_before_anything_else(client, server):
    stranger = Fireworks(base_url=server.base_url, api_key="fk_stranger", account_id="main", max_retries=0)
    with pytest.raises(fireworks.AuthenticationError) as e:
        stranger.models.get("never-made")
    assert e.value.body["code"] == 16


def test_other_accounts_are_not_found(client):
    with pytest.raises(fireworks.NotFoundError):
        client.datasets.list(account_id="somebody-else")


def test_taken_names_are_conflicts_and_are_not_tried_again(server):
    sent = []
    import httpx

    patient = Fireworks(base_url=server.base_url, api_key=server.key, account_id="main", max_retries=2,
                        http_client=httpx.Client(event_hooks={"request": [lambda r: sent.append(r.method)]}))
    patient.datasets.create(dataset_id="taken", dataset={})
    with pytest.raises(fireworks.ConflictError) as e:
        patient.datasets.create(dataset_id="taken", dataset={})
    assert e.value.body["code"] == 6 and sent == ["POST", "POST"]
    patient.datasets.delete("taken")


def test_bad_arguments_name_their_field(client):
    with pytest.raises(fireworks.BadRequestError) as e:
        client.models.list(page_size=10, filter="colour is green")
    assert e.value.body["code"] == 3 and "filter" in e.value.body["message"]


def test_bases_of_the_operator_are_everybodys(client):
    m = client.models.get("tiny", account_id="fireworks")
    assert m.name == BASE and m.state == "READY" and m.kind == "HF_BASE_MODEL" and m.public
