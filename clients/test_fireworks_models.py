"""Models by the official client: uploaded, imported, read back."""

import fireworks
import httpx
import pytest
from conftest import scored_rows
from fireworks_calls import Calls


@pytest.fixture(params=["sync", "async"])
def calls(request, server):
    c = Calls(request.param == "async", base_url=server.base_url, api_key=server.key, account_id="main", max_retries=0)
    c.tag = request.param
    yield c
    c.close()


def test_upload_train_download(calls, tiny):
    """A base comes in by signed URLs, a step trains on it, and the adapter goes out the same way."""
    t = calls.tag
    m = calls("models.create", model_id=f"mine-{t}", model={"kind": "HF_BASE_MODEL", "display_name": "Mine", "base_model_details": {"checkpoint_format": "HUGGINGFACE"}})
    assert m.state == "UPLOADING"
    files = {p.name: p.read_bytes() for p in tiny.iterdir() if p.is_file()}
    urls = calls("models.get_upload_endpoint", f"mine-{t}", filename_to_size={n: str(len(b)) for n, b in files.items()}).filename_to_signed_urls
    assert set(urls) == set(files)
    with pytest.raises(fireworks.BadRequestError, match="waits for"):
        calls("models.validate_upload", f"mine-{t}")
    for name, body in files.items():
        assert httpx.put(urls[name], content=body, timeout=60).status_code == 200
    assert calls("models.validate_upload", f"mine-{t}").warnings in ([], None)
    base = calls.until("models.get", f"mine-{t}", state="READY")
    assert base.kind == "HF_BASE_MODEL" and int(base.base_model_details.parameter_count) > 0
    calls("models.prepare", f"mine-{t}", precision="BF16")
    assert calls("models.update", f"mine-{t}", description="Small and random").description == "Small and random"

    calls("datasets.create", dataset_id=f"mrows-{t}", dataset={})
    calls("datasets.upload", f"mrows-{t}", file=("rows.jsonl", scored_rows(2).encode()))
    calls("reinforcement_fine_tuning_steps.create", rlor_trainer_job_id=f"mstep-{t}", dataset=f"mrows-{t}",
          training_config={"base_model": base.name, "output_model": f"mout-{t}", "lora_rank": 4, "max_context_length": 64})
    calls.until("reinforcement_fine_tuning_steps.get", f"mstep-{t}", state="JOB_STATE_COMPLETED")
    out = calls("models.get_download_endpoint", f"mout-{t}").filename_to_signed_urls
    assert set(out) == {"adapter_config.json", "adapter_model.safetensors"}
    adapter = {n: httpx.get(u).content for n, u in out.items()}
    assert b'"LORA"' in adapter["adapter_config.json"]

    # What went out comes in again, as another model.
    calls("models.create", model_id=f"again-{t}", model={"kind": "HF_PEFT_ADDON", "peft_details": {"base_model": base.name, "r": 4, "target_modules": ["q_proj"]}})
    urls = calls("models.get_upload_endpoint", f"again-{t}", filename_to_size={n: str(len(b)) for n, b in adapter.items()}).filename_to_signed_urls
    for name, body in adapter.items():
        assert httpx.put(urls[name], content=body).status_code == 200
    calls("models.validate_upload", f"again-{t}")
    again = calls.until("models.get", f"again-{t}", state="READY")
    assert again.peft_details.base_model == base.name and again.peft_details.r == 4
    for id in (f"again-{t}", f"mout-{t}"):
        calls("models.delete", id)
    calls("reinforcement_fine_tuning_steps.delete", f"mstep-{t}")
    calls("models.delete", f"mine-{t}")
    calls("datasets.delete", f"mrows-{t}")


def test_broken_uploads_say_what_is_wrong(calls):
    t = calls.tag
    calls("models.create", model_id=f"broken-{t}", model={"kind": "HF_BASE_MODEL"})
    urls = calls("models.get_upload_endpoint", f"broken-{t}", filename_to_size={"pytorch_model.bin": "3"}).filename_to_signed_urls
    assert httpx.put(urls["pytorch_model.bin"], content=b"abc").status_code == 200
    with pytest.raises(fireworks.BadRequestError, match="no model"):
        calls("models.validate_upload", f"broken-{t}")
    assert calls("models.get", f"broken-{t}").state == "UPLOADING"
    calls("models.delete", f"broken-{t}")
