"""JSON over HTTP with retries, time-outs and back-off; many requests at once, from ordinary synchronous code.

The requests run in an event loop of their own, in a thread of their own: so they can be waited for inside a
notebook too, and Ctrl-C ends them at once.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar

from advshape.errors import AdvshapeError

__all__ = ["Refused", "Transport", "Unanswered", "Unreachable"]

T = TypeVar("T")
TRANSIENT = (408, 409, 425, 429)
"""Statuses below 500 after which the same request can succeed later; those from 500 on all count as such."""
LONGEST_WAIT = 60.0
CONNECT = 10.0
LONGEST_MESSAGE = 300


class Refused(Exception):
    """The server understood and said no (a status from 300 to 499): asking again would not help."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"status {status}: {message}")
        self.status = status


class Unanswered(Exception):
    """No usable answer came, in any of the tries."""


class Unreachable(Unanswered):
    """No connection could be made, in the last of the tries."""


class _Transient(Exception):
    """One try failed in a way that may pass."""

    def __init__(self, message: str, after: float | None = None, unreachable: bool = False) -> None:
        super().__init__(message)
        self.after, self.unreachable = after, unreachable


class Transport:
    """A connection pool; use it in a `with` block.

    Args:
        headers: sent with every request.
        secret: never shown in a message, whatever the server answers.
        connections: requests at once.
        timeout: seconds for one try, from sending to the whole answer.
        retries: tries after the first one.
        wait: seconds before the second try; doubled for each further one, up to a minute, of which a random
            half is left out, so that many requests do not come back together. `Retry-After` goes before it.
        proxies: whether the environment's proxy settings hold.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        secret: str = "",
        connections: int = 32,
        timeout: float = 600.0,
        retries: int = 6,
        wait: float = 0.5,
        proxies: bool = True,
    ) -> None:
        try:
            import httpx2
        except ModuleNotFoundError as error:
            raise AdvshapeError("a server needs the package httpx2: pip install 'advshape[server]'") from error
        self.timeout, self.retries, self.wait = timeout, retries, wait
        self._secret = secret
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT, timeout), pool=None),
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=proxies,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="advshape-transport", daemon=True)

    def __enter__(self) -> Transport:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a request in the background."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def ask(
        self,
        url: str,
        read: Callable[[Any], T],
        body: Mapping[str, Any] | None = None,
        retries: int | None = None,
        patient: bool = True,
    ) -> T:
        """POST `body` (or GET without one) and `read` the JSON answer, again and again until it is one.

        Args:
            url: where.
            read: turns the parsed answer into what is wanted; a ValueError says what is wrong with it.
            body: the JSON request.
            retries: None: those of this connection.
            patient: False gives up at once when no connection can be made.

        Raises:
            Refused: the server said no.
            Unanswered: none of the tries gave an answer that `read` took.
        """
        chance = random.Random(repr(body))
        retries = self.retries if retries is None else retries
        for attempt in range(retries + 1):
            try:
                return await self._once(url, read, body)
            except _Transient as error:
                last = error
                if error.unreachable and not patient:
                    break
                if attempt < retries:
                    backoff = min(LONGEST_WAIT, self.wait * 2**attempt) * chance.uniform(0.5, 1)
                    await asyncio.sleep(backoff if error.after is None else min(error.after, LONGEST_WAIT))
        kind = Unreachable if last.unreachable else Unanswered
        raise kind(f"{last} ({attempt + 1} {'tries' if attempt else 'try'})") from last

    async def _once(self, url: str, read: Callable[[Any], T], body: Mapping[str, Any] | None) -> T:
        import httpx2

        try:
            async with asyncio.timeout(self.timeout):
                answer = await self._client.request("GET" if body is None else "POST", url, json=body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _Transient(f"no connection: {self._said(error)}", unreachable=True) from None
        except (TimeoutError, httpx2.TimeoutException):
            raise _Transient(f"no whole answer within {self.timeout:g} seconds") from None
        except httpx2.RequestError as error:
            raise _Transient(f"the connection broke: {self._said(error)}") from None
        if answer.status_code >= 500 or answer.status_code in TRANSIENT:
            after = _retry_after(answer.headers.get("Retry-After"))
            raise _Transient(f"status {answer.status_code}: {self._message(answer)}", after)
        if not answer.is_success:
            raise Refused(answer.status_code, self._message(answer))
        try:
            return read(answer.json())
        except (ValueError, RecursionError) as error:
            raise _Transient(f"not the answer that was asked for: {self._shown(str(error))}") from None

    def _message(self, answer: Any) -> str:
        """What the server says about an error: OpenAI's `error.message`, FastAPI's `detail`, or the text."""
        try:
            said = answer.json()
            for key in ("error", "message", "detail"):
                said = said.get(key, said) if isinstance(said, dict) else said
        except (ValueError, RecursionError):
            said = answer.text
        return self._shown(str(said)) or answer.reason_phrase

    def _said(self, error: Exception) -> str:
        return self._shown(str(error)) or type(error).__name__

    def _shown(self, text: str) -> str:
        """One short line without the secret."""
        clean = text.replace(self._secret, "***") if self._secret else text
        line = " ".join("".join(c if c.isprintable() else " " for c in clean).split())
        return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + " ..."

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date.

    >>> _retry_after("2"), _retry_after("soon"), _retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    (2.0, None, 0.0)
    """
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
