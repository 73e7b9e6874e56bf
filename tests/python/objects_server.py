"""An S3 server (moto) that requires signed requests, and the commands by which tests change its objects.

    objects_server.py

Prints a line of JSON with its port and two key pairs; the first may write, the second may only read. Each line of standard
input, `[name, argument, ...]`, calls a method of `Server`; the answer is its result as a line of JSON.
"""

import json
import logging
import os
import sys

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

READ = ["s3:GetObject", "s3:ListBucket"]


def client(service: str, url: str, key: str = "root", secret: str = "root"):
    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
    )


def user(iam, name: str, actions: list[str]) -> list[str]:
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return [key["AccessKeyId"], key["SecretAccessKey"]]


class Server:
    def __init__(self) -> None:
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        _, self.port = server.get_host_and_port()
        url = f"http://127.0.0.1:{self.port}"
        iam = client("iam", url)
        self.keys = [user(iam, "writer", ["s3:*"]), user(iam, "reader", READ)]
        # moto checks signatures from the next request on.
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
        self.s3 = client("s3", url, *self.keys[0])

    def bucket(self, name: str) -> None:
        self.s3.create_bucket(Bucket=name)

    def put_tree(self, bucket: str, prefix: str, folder: str) -> None:
        for parent, _, names in os.walk(folder):
            for path in (os.path.join(parent, name) for name in names):
                self.put(bucket, prefix + os.path.relpath(path, folder), path)

    def put(self, bucket: str, key: str, path: str) -> None:
        with open(path, "rb") as file:
            self.s3.put_object(Bucket=bucket, Key=key, Body=file.read())

    def get(self, bucket: str, key: str, path: str) -> None:
        with open(path, "wb") as file:
            file.write(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def delete(self, bucket: str, key: str) -> None:
        self.s3.delete_object(Bucket=bucket, Key=key)

    def keys_of(self, bucket: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def etag(self, bucket: str, key: str) -> str:
        return self.s3.head_object(Bucket=bucket, Key=key)["ETag"]

    def uploads(self, bucket: str) -> int:
        """Returns how many multipart uploads were neither completed nor aborted."""
        return len(self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # With at most 7 keys per page, listings have many pages.
    os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "7"
    server = Server()
    print(json.dumps({"port": server.port, "keys": server.keys}), flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(server, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
