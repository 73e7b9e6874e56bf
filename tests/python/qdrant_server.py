"""Qdrant's engine in this process, behind the part of its REST API that `push qdrant` and docs/qdrant.md need."""

import importlib.metadata
import json
import os
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

import qdrant_edge as edge

ENGINE = "engine"
# The engine does what is asked, and a gateway answers.
ANSWER_LOST = "lost"


# The engine waits for the disk after each change.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Server:
    """Serves on a port of its own until it is stopped."""

    def __init__(self, key=None):
        self.key, self.collections = key, {}
        # Answers to the next calls, in order: ENGINE for the engine's answer, ANSWER_LOST, status and headers, or None for no answer.
        self.answers = []
        self.calls, self.points_written = 0, 0
        self.keeps_metadata = True
        # The number of requests that write points until one hangs.
        self.upserts_left = None
        self.hangs, self.goes_on = threading.Event(), threading.Event()
        self.http = HTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"served": self}))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def hang_at_upsert(self, number):
        """Makes one of the next requests that write points wait for `go_on`, and then fail."""
        self.hangs.clear()
        self.goes_on.clear()
        self.upserts_left = number

    def wait_until_hanging(self):
        assert self.hangs.wait(60), "no request to write points came"

    def go_on(self):
        self.goes_on.set()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
        for collection in self.collections.values():
            collection.close()


class Collection:
    def __init__(self, body):
        self.asked, self.metadata = body, body.get("metadata")
        vectors = edge.EdgeVectorParams(body["vectors"]["size"], getattr(edge.Distance, body["vectors"]["distance"]))
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.shard = edge.EdgeShard.create(self.folder.name, edge.EdgeConfig(vectors=vectors))

    def close(self):
        self.shard.close()
        self.folder.cleanup()

    def info(self, _):
        config = {
            "params": {"vectors": self.asked["vectors"]},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
            "metadata": self.metadata,
        }
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "config": config,
            "payload_schema": {},
        }

    def update(self, body):
        self.metadata = (self.metadata or {}) | body["metadata"]
        return True

    def index(self, body):
        kind = getattr(edge.PayloadSchemaType, body["field_schema"].capitalize())
        return self.change(edge.UpdateOperation.create_field_index(body["field_name"], kind))

    def upsert(self, body):
        points = [edge.Point(point["id"], point["vector"], point["payload"]) for point in body["points"]]
        return self.change(edge.UpdateOperation.upsert_points(points))

    def delete(self, body):
        return self.change(edge.UpdateOperation.delete_points(body["points"]))

    def change(self, operation):
        self.shard.update(operation)
        return {"operation_id": 0, "status": "completed"}

    def retrieve(self, body):
        return [told(record) for record in self.shard.retrieve(body["ids"], body["with_payload"], body["with_vector"])]

    def scroll(self, body):
        request = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body["limit"],
            with_payload=body["with_payload"],
            with_vector=body["with_vector"],
        )
        records, following = self.shard.scroll(request)
        return {"points": [told(record) for record in records], "next_page_offset": following and str(following)}

    def count(self, _):
        return {"count": self.shard.count(edge.CountRequest(exact=True))}

    def query(self, body):
        conditions = [
            edge.FieldCondition(condition["key"], match=edge.MatchValue(condition["match"]["value"]))
            for condition in (body.get("filter") or {}).get("must", [])
        ]
        request = edge.QueryRequest(
            limit=body["limit"],
            query=edge.Query.Nearest(body["query"]["nearest"]),
            filter=edge.Filter(must=conditions) if conditions else None,
            with_payload=body["with_payload"],
            with_vector=False,
            params=edge.SearchParams(exact=(body.get("params") or {}).get("exact") or False),
        )
        return {"points": [told(point) | {"score": point.score, "version": 0} for point in self.shard.query(request)]}


def told(record):
    id = record.id if isinstance(record.id, int) else str(record.id)
    return {"id": id, "payload": record.payload, "vector": record.vector}


# By method and the part of the path behind the collection's name.
CALLS = {
    ("GET", ""): Collection.info,
    ("PATCH", ""): Collection.update,
    ("PUT", "/index"): Collection.index,
    ("PUT", "/points"): Collection.upsert,
    ("POST", "/points"): Collection.retrieve,
    ("POST", "/points/delete"): Collection.delete,
    ("POST", "/points/scroll"): Collection.scroll,
    ("POST", "/points/count"): Collection.count,
    ("POST", "/points/query"): Collection.query,
}


class Refusal(Exception):
    """A request that Qdrant answers with a status and a reason."""


class Handler(BaseHTTPRequestHandler):
    def answer_call(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.served.calls += 1
        instead = self.served.answers.pop(0) if self.served.answers else ENGINE
        if instead == ANSWER_LOST:
            self.result(json.loads(body or "{}"))
            return self.answer(502, {"Retry-After": "0"})
        if instead != ENGINE:
            return instead and self.answer(*instead)
        if self.path == "/":
            return self.answer(200, {}, {"title": "qdrant", "version": importlib.metadata.version("qdrant-client")})
        if (self.command, self.path.split("?")[0].rsplit("/", 1)[-1]) == ("PUT", "points") and self.is_last_upsert():
            self.served.hangs.set()
            self.served.goes_on.wait(60)
            return None
        if self.served.key and self.headers.get("api-key") != self.served.key:
            return self.answer(401, {}, {"status": {"error": "Must provide an API key"}})
        try:
            result = self.result(json.loads(body or "{}"))
        except Refusal as refusal:
            status, why = refusal.args
            return self.answer(status, {}, {"status": {"error": why}})
        return self.answer(200, {}, {"result": result, "status": "ok", "time": 0.0})

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer_call

    def is_last_upsert(self):
        if self.served.upserts_left is None:
            return False
        self.served.upserts_left -= 1
        if self.served.upserts_left:
            return False
        self.served.upserts_left = None
        return True

    def result(self, body):
        _, _, name, rest = (urllib.parse.unquote(self.path.split("?")[0]) + "/").split("/", 3)
        rest = "/" + rest.rstrip("/") if rest else ""
        collections = self.served.collections
        if rest == "/exists":
            return {"exists": name in collections}
        if (self.command, rest) == ("PUT", ""):
            if name in collections:
                raise Refusal(409, f"Collection `{name}` already exists!")
            collections[name] = Collection(body if self.served.keeps_metadata else body | {"metadata": None})
            return True
        if (self.command, rest) == ("DELETE", ""):
            collections.pop(name).close()
            return True
        if (self.command, rest) == ("PUT", "/points"):
            self.served.points_written += len(body["points"])
        return CALLS[self.command, rest](collections[name], body)

    def answer(self, status, headers, body=None):
        written = json.dumps(body or {"status": {"error": "as the test wants it"}}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_):
        pass
