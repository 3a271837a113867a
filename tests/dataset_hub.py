"""A stand-in for the part of the hub's HTTP interface that ``datasets`` reads data sets by; it has no network."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROUTE = re.compile(
    r"/(?P<api>api/)?datasets/(?P<id>[^/]+/[^/]+)(/(?P<action>[a-z-]+)(/(?P<revision>[^/]+)(/(?P<path>.+))?)?)?"
)


@contextmanager
def serving(repositories: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve folders as data sets, each with one commit.

    Yields:
        The address to set as ``HF_ENDPOINT``, and the requests so far.
    """
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            address = urlsplit(self.path)
            requests.append(f"{self.command} {self.path}")
            match = ROUTE.fullmatch(unquote(address.path))
            folder = repositories.get(match["id"]) if match else None
            if match is None or folder is None:
                return self.send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            if match["revision"] not in (None, "main", COMMIT):
                return self.send(404, b'{"error": "Invalid rev"}', {"X-Error-Code": "RevisionNotFound"})
            files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
            if match["api"] and match["action"] in (None, "revision"):
                siblings = [{"rfilename": name} for name in files]
                return self.as_json(
                    {"id": match["id"], "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
                )
            entries = [described(name, file) for name, file in files.items()]
            if match["action"] == "paths-info":
                asked = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
                folders = [
                    folder_entry(one)
                    for one in asked
                    if one not in files and any(f.startswith(one + "/") for f in files)
                ]
                return self.as_json([one for one in entries if one["path"] in asked] + folders)
            if match["action"] == "tree":
                prefix = f"{match['path']}/" if match["path"] else ""
                within = [one for one in entries if str(one["path"]).startswith(prefix)]
                if "recursive=true" not in address.query.lower() and "recursive=1" not in address.query.lower():
                    deeper = {
                        str(one["path"])[len(prefix) :].partition("/")[0]
                        for one in within
                        if "/" in str(one["path"])[len(prefix) :]
                    }
                    within = [one for one in within if "/" not in str(one["path"])[len(prefix) :]]
                    within += [folder_entry(prefix + name) for name in sorted(deeper)]
                return self.as_json(within)
            if match["action"] == "resolve" and match["path"] in files:
                return self.send_file(files[match["path"]])
            return self.send(404, b'{"error": "Entry not found"}', {"X-Error-Code": "EntryNotFound"})

        def as_json(self, value: object) -> None:
            self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send_file(self, file: Path) -> None:
            content = file.read_bytes()
            headers = {"ETag": f'"{abs(hash(content)):x}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
                start, end = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                return self.send(206, content[start : end + 1], headers)
            return self.send(200, content, headers)

        def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()


def described(name: str, file: Path) -> dict[str, object]:
    return {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}


def folder_entry(name: str) -> dict[str, object]:
    return {"type": "directory", "path": name, "size": 0, "oid": "1" * 40}
