"""OpenAI's SDK on chat completions, against the emulator's compatible server."""

import json
import re

import httpx2
import openai
import tables
from wire import HTTP, RECORD, assert_polite, check, fault, main, raises, record_httpx, set_scenario, stats

SCENARIO = "[mt]\nlatency_ms = 5\n"
SPANISH = "Esbaba esbabe, esbabi."
ASK = {
    "model": "local-model",
    "messages": [
        {"role": "system", "content": "You are an interpreter.\nTranslate from English (en) to Spanish (es)."},
        {"role": "user", "content": "Enbaba enbabe, enbabi."},
    ],
    "temperature": 0,
}


def client(key="oa-key", max_retries=0):
    return openai.OpenAI(api_key=key, base_url=f"{HTTP}/v1", max_retries=max_retries)


def complete(key="oa-key", **more):
    return client(key).chat.completions.create(**{**ASK, **more})


def events():
    """The data of the last reply's server-sent events."""
    text = bytes(RECORD.replies[-1].body).decode()
    data = []
    for event in text.split("\n\n"):
        for line in filter(None, event.split("\n")):
            assert line.startswith((":", "data: ")), line
            if line.startswith("data: "):
                data.append(line[6:])
    return data


@check
def whole():
    answer = complete(max_completion_tokens=100, seed=1)
    assert answer.choices[0].message.content == SPANISH
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    reply = RECORD.replies[-1]
    tables.prove(tables.OPENAI_COMPLETION, reply.json())
    assert re.fullmatch(r"req_[0-9a-f]{32}", reply.headers["x-request-id"])
    assert answer._request_id == reply.headers["x-request-id"]
    short = complete(max_completion_tokens=1)
    assert short.choices[0].finish_reason == "length" and SPANISH.startswith(short.choices[0].message.content)
    tables.prove(tables.OPENAI_COMPLETION, RECORD.replies[-1].json())
    assert_polite()


@check
def streamed():
    for usage in (False, True):
        options = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = list(complete(stream=True, **options))
        spoken = [c for c in chunks if c.choices]
        assert "".join(c.choices[0].delta.content or "" for c in spoken) == SPANISH
        assert spoken[0].choices[0].delta.role == "assistant" and not spoken[0].choices[0].delta.content
        assert [c.choices[0].finish_reason for c in spoken] == [None] * (len(spoken) - 1) + ["stop"]
        assert len({c.id for c in chunks}) == 1
        *data, done = events()
        assert done == "[DONE]"
        assert len(data) == len(chunks), "the SDK dropped events"
        for i, text in enumerate(data):
            last = usage and i == len(data) - 1
            tables.prove(tables.OPENAI_CHUNK_USAGE if last else tables.OPENAI_CHUNK, json.loads(text))
        assert (chunks[-1].usage is not None) == usage
        assert RECORD.replies[-1].headers["content-type"].startswith("text/event-stream")
    assert_polite()


@check
def by_the_sdk_s_own_accumulator():
    with client().chat.completions.stream(**ASK) as stream:
        said = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert said == final.choices[0].message.content == SPANISH
    assert_polite()


def refused(kind, status, code, **changes):
    error = raises(kind, lambda: complete(**changes))
    reply = RECORD.replies[-1]
    tables.prove(tables.OPENAI_REFUSED, reply.json())
    assert (error.status_code, error.code) == (status, code), (error, error.code)
    assert error.body == reply.json()["error"]
    assert error.request_id == reply.headers["x-request-id"] and error.request_id.startswith("req_")
    return error


@check
def refusals():
    refused(openai.AuthenticationError, 401, "invalid_api_key", key="another")
    assert refused(openai.BadRequestError, 400, None, temperature=9).param == "temperature"
    refused(openai.BadRequestError, 400, None, messages=[])
    for name, kind, status, code in [
        ("openai_401", openai.AuthenticationError, 401, "invalid_api_key"),
        ("openai_429", openai.RateLimitError, 429, "rate_limit_exceeded"),
        ("openai_quota", openai.RateLimitError, 429, "insufficient_quota"),
        ("openai_500", openai.InternalServerError, 500, None),
    ]:
        set_scenario(SCENARIO + fault("mt", kind="vendor", name=name, count=0))
        refused(kind, status, code)
        refused(kind, status, code, stream=True)


@check
def an_error_in_mid_stream():
    set_scenario(SCENARIO + fault("mt", kind="vendor", name="openai_mid_stream", count=0))
    error = raises(openai.APIError, lambda: list(complete(stream=True)))
    *data, last = events()
    tables.prove(tables.OPENAI_REFUSED, json.loads(last))
    assert error.body == json.loads(last)["error"]
    assert len(data) > 1
    for text in data:
        tables.prove(tables.OPENAI_CHUNK, json.loads(text))


@check
def the_sdk_tries_again():
    set_scenario(SCENARIO + fault("mt", kind="vendor", name="openai_429", retry_after=1))
    answer = client(max_retries=1).chat.completions.create(**ASK)
    assert answer.choices[0].message.content == SPANISH
    assert len(stats()["faults"]) == 1


record_httpx(httpx2)
main(SCENARIO)
