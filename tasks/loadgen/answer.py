"""From the bytes of one exchange to its record. Runs after the clock has stopped, and is total: whatever the bytes,
there is a record with an outcome, and with a reason where the outcome is not completed."""

from collections.abc import Callable

from tasks.loadgen.exchange import Asked, Exchange
from tasks.loadgen.http1 import read_response
from tasks.loadgen.record import RequestRecord, TokenSource
from tasks.loadgen.stream import read_answer, text_of
from tasks.loadgen.verdict import one_line, verdict

CountTokens = Callable[[str], int]


def parse_exchange(
    exchange: Exchange, asked: Asked, *, secret: str = "", count_tokens: CountTokens | None = None
) -> RequestRecord:
    """`secret` is the key that was sent: it is kept out of the error text, should the server have quoted it.

    `count_tokens` counts the answer's text where the server told no number. A text can be cut into tokens in more ways
    than the one it was made in: such a count is recorded, and no request fails by it.
    """
    response = read_response(exchange.segments)
    answer = read_answer(response, ended=response.ended(exchange.end))
    output_tokens, source = answer.output_tokens, answer.source
    if output_tokens is None and count_tokens is not None and answer.chunk_at_ns:
        output_tokens, source = count_tokens(text_of(response)), TokenSource.TOKENIZER
    outcome, reason = verdict(exchange, asked, response, answer)
    return RequestRecord(
        index=exchange.index,
        due_at_ns=exchange.due_at_ns,
        sent_at_ns=exchange.sent_at_ns,
        first_byte_at_ns=exchange.segments[0][0] if exchange.segments else None,
        last_token_at_ns=answer.chunk_at_ns[-1] if answer.chunk_at_ns else None,
        end_at_ns=exchange.end_at_ns,
        chunk_at_ns=answer.chunk_at_ns,
        chunk_tokens=answer.chunk_tokens(),
        chunk_is_answer=answer.chunk_is_answer,
        prompt_tokens_asked=asked.prompt_tokens or None,
        prompt_tokens=answer.prompt_tokens,
        output_tokens_asked=asked.output_tokens or None,
        output_tokens=output_tokens,
        output_tokens_source=source,
        cached_tokens=answer.cached_tokens,
        finish_reason=answer.finish_reason,
        status=response.status,
        outcome=outcome,
        error=None if reason is None else one_line(reason, secret=secret),
        in_window=asked.in_window,
        process=exchange.process,
        connection_reused=exchange.connection_reused,
        stamp=exchange.stamp,
        conversation=asked.conversation,
        turn=asked.turn,
    )
