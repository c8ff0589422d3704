"""DeepL's SDK: translation, usage, languages."""

import re

import deepl
import tables
from wire import HTTP, RECORD, assert_polite, check, fault, main, raises, record_requests, set_scenario, stats

SCENARIO = "[mt]\nlatency_ms = 5\n"
ENGLISH, SPANISH = "Enbaba enbabe enbabi.", "Esbaba esbabe esbabi."


def client(key="dl-key"):
    return deepl.DeepLClient(key, server_url=HTTP)


def replied(table):
    """The last reply, after its comparison with a table."""
    reply = RECORD.replies[-1]
    tables.prove(table, reply.json())
    assert reply.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-trace-id"]), reply.headers
    return reply.json()


@check
def one_text():
    result = client().translate_text(ENGLISH, target_lang="ES")
    assert type(result) is deepl.TextResult
    assert (result.text, result.detected_source_lang) == (SPANISH, "EN"), result
    assert result.billed_characters == len(ENGLISH)
    (translation,) = replied(tables.DEEPL_TRANSLATED)["translations"]
    # The SDK always asks for the bill, and did not ask for a model.
    assert set(translation) == {"detected_source_language", "text", "billed_characters"}, translation
    assert_polite()


@check
def many_texts_in_order():
    texts = ["Enbaba.", "Enbabe enbabi?", "Enbabo, enbaba!"]
    results = client().translate_text(texts, source_lang="EN", target_lang="ES")
    assert [r.text for r in results] == ["Esbaba.", "Esbabe esbabi?", "Esbabo, esbaba!"], [r.text for r in results]
    assert [r.detected_source_lang for r in results] == ["EN"] * 3
    assert len(replied(tables.DEEPL_TRANSLATED)["translations"]) == 3
    assert_polite()


@check
def all_that_a_call_sends():
    result = client().translate_text(
        ENGLISH,
        source_lang="EN",
        target_lang="ES",
        context="Enbako enbalo.",
        formality=deepl.Formality.MORE,
        glossary="3fa85f64-5717-4562-b3fc-2c963f66afa6",
        split_sentences=deepl.SplitSentences.OFF,
        preserve_formatting=True,
        model_type=deepl.ModelType.LATENCY_OPTIMIZED,
    )
    assert (result.text, result.model_type_used) == (SPANISH, "latency_optimized"), vars(result)
    replied(tables.DEEPL_TRANSLATED)
    seen = stats()["translations"][-1]
    assert seen["context"] == "Enbako enbalo.", seen
    better = client().translate_text(ENGLISH, target_lang="EN-US", model_type=deepl.ModelType.QUALITY_OPTIMIZED)
    assert better.model_type_used == "quality_optimized"
    replied(tables.DEEPL_TRANSLATED)
    assert_polite()


@check
def usage():
    before = client().get_usage()
    client().translate_text(ENGLISH, target_lang="ES")
    after = client().get_usage()
    assert after.character.count - before.character.count == len(ENGLISH)
    assert after.character.limit == 1000000000 and not after.any_limit_reached
    replied(tables.DEEPL_USAGE)
    assert_polite()


@check
def languages():
    sources = client().get_source_languages()
    replied(tables.DEEPL_SOURCES)
    targets = {language.code: language for language in client().get_target_languages()}
    replied(tables.DEEPL_TARGETS)
    assert {"EN", "ES"} <= {language.code for language in sources}
    # A source has no variants, a target has; only some can be formal.
    assert not any("-" in language.code for language in sources)
    assert targets["ES"].supports_formality is True and targets["EN-US"].supports_formality is False
    assert targets["ES"].name == "Spanish", targets["ES"].name
    assert_polite()


def refused(kind, status, text, call, table=tables.DEEPL_REFUSED):
    deepl.http_client.max_network_retries = 0
    try:
        error = raises(kind, call)
    finally:
        deepl.http_client.max_network_retries = 5
    assert error.http_status_code == status, error
    assert text in str(error), error
    reply = RECORD.replies[-1]
    assert reply.status == status and re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-trace-id"]), reply.headers
    if table is None:
        assert not reply.body, reply.body
    else:
        tables.prove(table, reply.json())


@check
def refusals():
    def call(**more):
        return lambda: client().translate_text(ENGLISH, **{"target_lang": "ES", **more})

    # 403 has no body.
    other = client("another")
    refused(deepl.AuthorizationException, 403, "auth_key", lambda: other.translate_text("a", target_lang="ES"), None)
    refused(deepl.AuthorizationException, 403, "auth_key", other.get_usage, None)
    refused(deepl.DeepLException, 400, "target_lang", call(target_lang="XX"))
    refused(deepl.DeepLException, 400, "formality", call(target_lang="EN-US", formality="more"))
    for name, status, kind, text in [
        ("deepl_403", 403, deepl.AuthorizationException, "Authorization failure"),
        ("deepl_413", 413, deepl.DeepLException, "413"),
        ("deepl_429", 429, deepl.TooManyRequestsException, "Too many requests"),
        ("deepl_429_empty", 429, deepl.TooManyRequestsException, "Too many requests"),
        ("deepl_456", 456, deepl.QuotaExceededException, "Quota for this billing period has been exceeded"),
        ("deepl_500", 500, deepl.DeepLException, "500"),
        ("deepl_503", 503, deepl.DeepLException, "Service unavailable"),
        ("deepl_529", 529, deepl.DeepLException, "529"),
        ("deepl_529_empty", 529, deepl.DeepLException, "529"),
    ]:
        set_scenario(SCENARIO + fault("mt", kind="vendor", name=name, count=0))
        bare = name.endswith("_empty") or status == 403
        refused(kind, status, text, call(), None if bare else tables.DEEPL_REFUSED)


@check
def a_quota_that_is_used_up():
    set_scenario(SCENARIO + "[deepl]\ncharacter_limit = 30\n")
    asking = client()
    asking.translate_text(ENGLISH, target_lang="ES")
    refused(deepl.QuotaExceededException, 456, "Quota", lambda: asking.translate_text(ENGLISH, target_lang="ES"))
    assert asking.get_usage().character.count == len(ENGLISH)


@check
def the_sdk_tries_again():
    set_scenario(SCENARIO + fault("mt", kind="vendor", name="deepl_429"))
    assert client().translate_text(ENGLISH, target_lang="ES").text == SPANISH
    assert [r.status for r in RECORD.replies] == [429, 200]


record_requests()
main(SCENARIO)
