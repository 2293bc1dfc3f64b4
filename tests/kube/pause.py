#!/usr/bin/env python3
"""Write an OCI archive with the image that holds a pod's network: one program that waits."""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

NAME = "docker.io/orrery/pause:1"
WAIT = [
    "/busybox",
    "sh",
    "-c",
    "trap 'exit 0' TERM INT; while :; do /busybox sleep 3600 & wait $!; done",
]
MEDIA = "application/vnd.oci.image."


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def main() -> None:
    layer = archive({"busybox": Path("/bin/busybox").read_bytes()})
    packed = gzip.compress(layer, mtime=0)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": WAIT, "User": "65535"},
    }
    config["rootfs"] = {"type": "layers", "diff_ids": [sha256(layer)]}
    config_bytes = json.dumps(config).encode()

    def described(kind: str, data: bytes) -> dict:
        return {"mediaType": MEDIA + kind, "digest": sha256(data), "size": len(data)}

    manifest = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json"}
    manifest["config"] = described("config.v1+json", config_bytes)
    manifest["layers"] = [described("layer.v1.tar+gzip", packed)]
    manifest_bytes = json.dumps(manifest).encode()
    entry = described("manifest.v1+json", manifest_bytes)
    entry["annotations"] = {"io.containerd.image.name": NAME}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    for data in (packed, config_bytes, manifest_bytes):
        files["blobs/sha256/" + sha256(data)[7:]] = data
    sys.stdout.buffer.write(archive(files))


if __name__ == "__main__":
    main()
