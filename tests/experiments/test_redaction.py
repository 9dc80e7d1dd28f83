"""What is a secret, and what only sounds like one."""

import pytest

from experiments.redaction import REDACTED, is_secret_name, redacted


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "--api-key", "Authorization", "db.password", "SECRET"],
)
def test_secret_names_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["prompt_tokens", "tokenizer", "output_tokens_asked", "monkey", "api_key_env", "token_id_prompts", "keys"]
)
def test_names_that_sound_alike_are_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_are_replaced_wherever_they_hide() -> None:
    found = redacted(
        {
            "env": [{"name": "HF_TOKEN", "value": "plain"}, {"name": "THREADS", "value": "2"}],
            "argv": ["serve", "--api-key", "abc", "--token=def", "WANDB_API_KEY=ghi", "--max-tokens", "5"],
            "headers": {"Authorization": "Bearer zzz"},
            "note": "used hf_abcdefghijklmnopqrstuvwx at https://me:pass@host/x",
            "log": "Authorization: Bearer 1234\nBearer abcdefghijklmnop",
            "prompt_tokens": 128,
        }
    )
    assert found == {
        "env": [{"name": "HF_TOKEN", "value": REDACTED}, {"name": "THREADS", "value": "2"}],
        "argv": [
            "serve",
            "--api-key",
            REDACTED,
            f"--token={REDACTED}",
            f"WANDB_API_KEY={REDACTED}",
            "--max-tokens",
            "5",
        ],
        "headers": {"Authorization": REDACTED},
        "note": f"used {REDACTED} at https://{REDACTED}@host/x",
        "log": f"Authorization: {REDACTED}\n{REDACTED}",
        "prompt_tokens": 128,
    }


def test_a_secret_in_a_line_of_a_log_is_found_by_the_name_before_it() -> None:
    for line in (
        "args: {'api_key': ['s3cr3t'], 'port': 1}",
        'config: {"hf_token": "s3cr3t"}',
        "api-key=s3cr3t, port=1",
        "serve --api-key s3cr3t --port 1",
        "password: s3cr3t",
    ):
        assert "s3cr3t" not in str(redacted(line))
    for line in ("api_key=None, prompt_tokens=3", "eos_token: </s>", "tokens: 12"):
        assert redacted(line) == line


def test_prose_stays_as_it_is() -> None:
    text = "The basic architecture has bearer tokens of 16 heads; the secret is in the sauce."
    assert redacted(text) == text
