"""A backend that Label Studio calls: it decides whenever somebody has answered."""

import base64
import contextlib
import hmac
import http.server
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from gtx_bayes.aggregation.tables import page
from gtx_bayes.errors import InputError
from gtx_bayes.live.loop import Loop, Report
from gtx_bayes.live.tool import ToolError

MOST_BYTES = 2**25
"""The largest body that is read: Label Studio sends whole tasks along."""

OF_LABELERS = ("worker", "num_labels", "accuracy", "ci_low", "ci_high", "num_gold")
"""What is shown of them."""

_SILENCE = 30.0  # seconds that a caller may keep silent


class Backend(http.server.ThreadingHTTPServer):
    """Answers `/health`, `/setup`, `/predict` and `/webhook`, and shows where things stand at `/`.

    A call sets off a round in a thread of its own; those that come meanwhile are one more round.
    Everything but `/health` asks for the secret: as the password of basic authentication, or as a
    bearer token.

    Attributes:
        report: of the last round; None before the first.
    """

    daemon_threads = True

    def __init__(
        self, loop: Loop, address: tuple[str, int], secret: str, *, seconds: float, title: str
    ) -> None:
        """Bind the address.

        Args:
            loop: what decides.
            address: host and port; port 0 for any that is free.
            secret: what callers have to know.
            seconds: how long a round may be put off at most, for answers that no call tells of.
            title: of the page.

        Raises:
            InputError: for a secret that is easily guessed, or an address that is taken.
        """
        if len(secret) < 8:
            raise InputError(
                "the secret has fewer than 8 characters.",
                where="secret",
                hint="Take a longer one, such as what `openssl rand -hex 16` prints.",
            )
        self.loop, self.title = loop, title
        self.report: Report | None = None
        self._secret, self._seconds = secret.encode(), seconds
        self._asked, self._ended = threading.Event(), threading.Event()
        self._decider = threading.Thread(target=self._decide, daemon=True)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise InputError(
                f"cannot listen there: {error.strerror}.", where=where, hint="Name another port."
            ) from error

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve and decide, in threads, until the block ends; the first round comes before that.

        Raises:
            InputError: as the first round does; later rounds say it, and others follow.
            ToolError: likewise.
        """
        with self:  # the address is given back at the end
            self.report = self.loop.round()
            log_report(self.report)
            threads = [threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)]
            threads.append(self._decider)
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                self._ended.set()
                self._asked.set()
                self.shutdown()
                for thread in threads:
                    thread.join()

    @property
    def decides(self) -> bool:
        """Whether there will be a round when one is asked for."""
        return self._decider.is_alive()

    def ask(self) -> None:
        """Have a round soon."""
        self._asked.set()

    def knows(self, authorization: str) -> bool:
        """Whether a header proves that its sender knows the secret."""
        scheme, _, rest = authorization.partition(" ")
        given = rest.strip().encode()
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except ValueError:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self._secret)

    def predictions(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is known of tasks, by their numbers; an empty result where nothing is."""
        results = {} if self.report is None else self.report.results
        about = {} if self.report is None else self.report.about
        found = []
        for task in tasks:
            choices, scores = [], []
            for question, result in results.items():
                probs = result.probs
                row = probs[probs.index.astype(str) == str(task.get("id"))]
                if len(row):
                    best = str(row.iloc[0].idxmax())
                    scores.append(float(row.iloc[0].max()))
                    choices.append(
                        {"from_name": question, "to_name": about[question]}
                        | {"type": "choices", "value": {"choices": [best]}, "score": scores[-1]}
                    )
            found.append({"result": choices, "score": min(scores, default=0.0)})
        return found

    def html(self) -> str:
        """Where things stand: tasks by reason, labelers, and the last decisions."""
        import pandas as pd

        report = self.report
        if report is None:
            return page(self.title, "The first round is not over yet.", (), ())
        closed = ", ".join(f"{number} by {why}" for why, number in report.num_closed.items())
        facts = f"{report.num_labels} answers; {report.num_open} tasks open, "
        facts += f"{report.num_waiting} waiting; retired: {closed or 'none'}"
        tables = [
            (f"labelers ({name})", of.labelers()[list(OF_LABELERS)])
            for name, of in report.results.items()
        ]
        rows = self.loop.journal.rows()[::-1]
        if rows:
            shown = ["time", "task", "action", "reason", "num_labels", "label", "confidence"]
            tables.append(("decisions", pd.DataFrame(rows).reindex(columns=shown)))
        body = page(self.title, facts, tables, report.notes)
        style = "body{font:15px sans-serif;margin:2em}td,th{padding:2px 10px;text-align:left}"
        head = '<meta charset="utf-8"><meta http-equiv="refresh" content="10">'
        return f"<!doctype html>{head}<title>gtx-bayes</title><style>{style}</style>{body}"

    def _decide(self) -> None:
        while not self._asked.wait(self._seconds) or not self._ended.is_set():
            self._asked.clear()
            self.report = try_round(self.loop) or self.report


def try_round(loop: Loop) -> Report | None:
    """A round of many, told in one line; None where it failed, for another comes."""
    try:
        report = loop.round()
        log_report(report)
    except Exception as error:
        is_known = isinstance(error, (InputError, ToolError))
        what = f"{error}" if is_known else f"{type(error).__name__}: {error}"
        print(f"Not decided: {what}", file=sys.stderr, flush=True)
        return None
    return report


def log_report(report: Report) -> None:
    """One line on a round, if it changed anything."""
    if report.decisions or report.num_changed or report.num_predicted:
        closed = ", ".join(f"{number} {why}" for why, number in report.num_closed.items())
        print(
            f"{time.strftime('%H:%M:%S')} {report.num_labels} answers: {report.num_open} open, "
            f"{report.num_waiting} waiting, retired: {closed or 'none'}; "
            f"{len(report.decisions)} decisions, "
            f"{report.num_changed} tasks changed, {report.num_predicted} predictions, "
            f"{report.seconds:.1f} s",
            flush=True,
        )


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Backend
    timeout = _SILENCE
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gtx-bayes", ""

    def do_GET(self) -> None:
        """`/health`, and the page."""
        if self.path in ("/health", "/health/"):
            status = (200, "UP") if self.server.decides else (503, "DOWN")
            self._send(status[0], {"status": status[1], "model_class": "gtx-bayes"})
        elif not self._is_known():
            return
        elif self.path == "/":
            self._send(200, self.server.html())
        else:
            self._send(404, {"detail": "there is /health and /"})

    def do_POST(self) -> None:
        """What Label Studio calls."""
        if not self._is_known():
            return
        body = self._body()
        if body is None:
            return
        match self.path.rstrip("/"):
            case "/setup":
                self._send(200, {"model_version": "gtx-bayes"})
            case "/predict":
                tasks = body.get("tasks")
                if not isinstance(tasks, list) or not all(isinstance(t, dict) for t in tasks):
                    self._send(400, {"detail": "tasks is no list of tasks"})
                    return
                found = self.server.predictions(tasks)
                named = [{**each, "model_version": "gtx-bayes"} for each in found]
                self._send(200, {"results": named, "model_version": "gtx-bayes"})
            case "/webhook" | "/train":
                self.server.ask()
                self._send(200, {})
            case _:
                self._send(404, {"detail": "there is /setup, /predict and /webhook"})

    def _is_known(self) -> bool:
        is_known = self.server.knows(self.headers.get("Authorization", ""))
        if not is_known:
            self._refuse(401, "the secret is missing or wrong")
        return is_known

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(411, "the length is missing")
            return None
        if len(length) > 20 or int(length) > MOST_BYTES:
            self._refuse(413, f"more than {MOST_BYTES} bytes")
            return None
        try:
            found = json.loads(self.rfile.read(int(length)) or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._refuse(400, "this is no JSON object")
            return None
        return found

    def _refuse(self, code: int, why: str) -> None:
        """An answer before the body was read: the connection ends with it."""
        self.close_connection = True
        self._send(code, {"detail": why})

    def _send(self, code: int, found: dict[str, Any] | str) -> None:
        is_page = isinstance(found, str)
        text = found if isinstance(found, str) else json.dumps(found)
        self.send_response(code)
        if code == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="gtx-bayes"')
        kind = "text/html; charset=utf-8" if is_page else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Calls are not listed: the rounds they set off are."""
