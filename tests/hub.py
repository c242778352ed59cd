"""A stand-in for the Hugging Face hub on this machine: one repository, at one commit."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "1" * 40


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.wfile.write(self.answer()[: self.server.sent])

    def answer(self):
        server = self.server
        server.asked.append((self.command, self.path))
        path = self.path.partition("?")[0]
        name = path.partition("/resolve/")[2].partition("/")[2]
        content = server.files.get(name)
        if "/revision/" in path:
            content = json.dumps({"id": "owner/name", "sha": COMMIT}).encode()
        elif f"/tree/{COMMIT}" in path:
            listed = [
                {"type": "file", "path": name, "size": len(held), "oid": "2" * 40}
                for name, held in server.files.items()
            ]
            content = json.dumps(listed).encode()
        self.send_response(404 if content is None else 200)
        content = content or b""
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(**files):
    """A server with `url`, `files`, what was `asked` of it, and the bytes `sent` of a file."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.files, server.asked, server.sent = files, [], None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
