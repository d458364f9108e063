"""Questions to a Prometheus, in chunks that it can answer. Only reads; what it answers is untrusted text.

Bearer token or name and password come from the environment, and go nowhere but to the server named: no redirect is followed,
certificates are verified (``SSL_CERT_FILE`` names your own authority), and nothing secret is sent without TLS except on the
machine itself.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ojp_sizing.errors import InputError
from ojp_sizing.quantities import shown

TOKEN, USER, PASSWORD = "PROMETHEUS_TOKEN", "PROMETHEUS_USER", "PROMETHEUS_PASSWORD"
#: Prometheus answers with 11,000 points of a series at most.
MOST_POINTS = 10_000
MOST_ANSWER_BYTES = 128 * 2**20
#: A server that restarts is asked again after so many seconds.
_PAUSES_S = (1.0, 3.0)
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
#: Answers of a server, or of what stands before it, that is not up now.
_PASSING = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Track:
    """One series of an answer: its labels, and (seconds since 1970, value) in order."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server, and how to be let in. ``authorization`` is never shown."""

    url: str
    authorization: str = field(default="", repr=False)
    timeout_s: float = 30.0
    place: str = "--url"

    def query_range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[Track]:
        """The answer to a query over time, asked for in chunks. Raises InputError where there is none."""
        found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        at_s = start_s
        while at_s <= end_s:
            last_s = min(end_s, at_s + (MOST_POINTS - 1) * step_s)
            asked = {"query": query, "start": f"{at_s:.3f}", "end": f"{last_s:.3f}", "step": f"{step_s:.3f}"}
            for one in self._result("/api/v1/query_range", asked, "matrix"):
                key, points = self._track(one, "values")
                found.setdefault(key, []).extend(points)
            at_s = last_s + step_s
        return [Track(dict(key), tuple(points)) for key, points in found.items()]

    def query(self, query: str, at_s: float) -> list[Track]:
        """The answer to a query at one instant."""
        results = self._result("/api/v1/query", {"query": query, "time": f"{at_s:.3f}"}, "vector")
        tracks = (self._track({**one, "value": [one.get("value")]}, "value") for one in results)
        return [Track(dict(key), tuple(points)) for key, points in tracks]

    def _track(
        self, one: Mapping[str, Any], values: str
    ) -> tuple[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
        try:
            labels = tuple(sorted((str(name), str(text)) for name, text in one["metric"].items()))
            return labels, [(float(at), float(value)) for at, value in one[values]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(self.place, "answers with something that isn't a series", "check the address") from error

    def _result(self, path: str, asked: Mapping[str, str], kind: str) -> Sequence[Mapping[str, Any]]:
        tree = self._answer(path, asked)
        try:
            data = tree["data"]
            if data["resultType"] != kind or not isinstance(data["result"], list):
                raise InputError(self.place, f"the query's answer is no {kind}", "ask for a series that has labels")
            return data["result"]
        except (KeyError, TypeError) as error:
            raise InputError(self.place, "answers, but not as Prometheus does", "check the address") from error

    def _answer(self, path: str, asked: Mapping[str, str]) -> Any:
        """Asked again where the server isn't up or ends amid its answer."""
        for pause_s in _PAUSES_S:
            try:
                return self._ask(path, asked)
            except _PassingError:
                time.sleep(pause_s)
        try:
            return self._ask(path, asked)
        except _PassingError as error:
            raise InputError(self.place, str(error), "check that it is up, and reachable from here") from error

    def _ask(self, path: str, asked: Mapping[str, str]) -> Any:
        headers = {"Accept": "application/json"} | ({"Authorization": self.authorization} if self.authorization else {})
        # The scheme was looked at where this was made.
        request = Request(self.url + path, urlencode(asked).encode(), headers)  # noqa: S310
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.timeout_s) as answer:
                raw = answer.read(MOST_ANSWER_BYTES + 1)
        except HTTPError as error:
            raise self._refusal(error) from error
        except URLError as error:
            reason = error.reason
            if "CERTIFICATE" in str(reason).upper():
                fix = "name its authority in SSL_CERT_FILE"
                raise InputError(self.place, "the server's certificate can't be verified", fix) from error
            raise _PassingError(f"can't be reached: {_said(reason)}") from error
        except (OSError, HTTPException) as error:
            raise _PassingError(f"broke off amid its answer: {_said(error)}") from error
        if len(raw) > MOST_ANSWER_BYTES:
            raise InputError(self.place, "answers with more than 128 MiB", "ask for a shorter range or fewer series")
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            if raw.startswith(b"{"):
                raise _PassingError("broke off amid its answer") from error
            raise InputError(self.place, "answers, but not in JSON", "check the address") from error

    def _refusal(self, error: HTTPError) -> Exception:
        with error:
            body = error.read(100_000)
        if error.code in (401, 403):
            fix = f"set {TOKEN}, or {USER} and {PASSWORD}, in the environment"
            return InputError(self.place, f"doesn't let us in (HTTP {error.code})", fix)
        if 300 <= error.code < 400:
            return InputError(
                self.place, f"sends us elsewhere (HTTP {error.code})", "name the address that it has itself"
            )
        try:
            reason = shown(str(json.loads(body)["error"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            reason = ""
        if error.code in _PASSING and not reason:
            return _PassingError(f"HTTP {error.code}")
        what = f"refuses the query (HTTP {error.code})" + (f": {reason}" if reason else "")
        return InputError(self.place, what, "check the address, the range and the query")


class _PassingError(Exception):
    """What may be over in a moment."""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """None: the answer is an error, and what we carry stays here."""


def _said(reason: object) -> str:
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return shown(str(text))[1:-1]


def prometheus_at(url: str, place: str = "--url", environment: Mapping[str, str] | None = None) -> Prometheus:
    """The server at an address, with what the environment has for it. Raises InputError for an address that is none."""
    known = os.environ if environment is None else environment
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isprintable():
        raise InputError(place, "not an address of the kind https://host:9090", "write it without a query")
    if parts.username is not None or parts.password is not None:
        fix = f"set {USER} and {PASSWORD} in the environment"
        raise InputError(place, "a name or password in an address ends in logs and in histories", fix)
    token, user, password = (known.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token:
        authorization = f"Bearer {token}"
    elif user or password:
        authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    else:
        authorization = ""
    if not authorization.isascii() or not authorization.isprintable():
        raise InputError(TOKEN, "holds characters that no header may have", "set it anew, without a line break")
    if authorization and parts.scheme == "http" and host not in _LOCAL:
        raise InputError(
            place, "a secret would go over the network in the clear", "write https://, or unset the secret"
        )
    return Prometheus(url.rstrip("/"), authorization, place=place)
