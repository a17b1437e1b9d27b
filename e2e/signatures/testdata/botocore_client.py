"""Puts, gets, lists and presigns with botocore, at the servers that the environment names."""

import io
import os
import urllib.request

import botocore
import botocore.config
import botocore.session


class Stream(io.RawIOBase):
    """A body that cannot be read twice."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, n=-1):
        return self.data.read(n)


def check(ok, *what):
    if not ok:
        raise SystemExit(f"not as it should be: {what}")


session = botocore.session.get_session()
bucket = os.environ["BUCKET"]
with open(os.environ["KEYS"], encoding="utf-8") as f:
    keys = f.read().split("\n")

for endpoint in os.environ["PLAIN"], os.environ["SECURE"]:
    client = session.create_client(
        "s3",
        endpoint_url=endpoint,
        config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )
    for key in keys:
        data = ("snow" + key).encode()
        client.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"camera": "a  b"})
        check(client.get_object(Bucket=bucket, Key=key)["Body"].read() == data, endpoint, key)
        if endpoint == os.environ["PLAIN"]:
            url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)
            check(urllib.request.urlopen(url).read() == data, url)
    if endpoint == os.environ["SECURE"]:
        client.put_object(Bucket=bucket, Key="stream", Body=Stream(b"snow"), ContentLength=4)
        check(client.get_object(Bucket=bucket, Key="stream")["Body"].read() == b"snow", "stream")
    listed = client.list_objects_v2(Bucket=bucket, Prefix="a b+c/ü", Delimiter="/", StartAfter="&=?")
    check(len(listed["Contents"]) == 1, listed)

sts = session.create_client("sts", endpoint_url=os.environ["STS"])
who = sts.get_caller_identity()["Arn"]
url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
check(who in urllib.request.urlopen(url).read().decode(), url)
print("botocore", botocore.__version__, "all good")
