"""``python -m services.license.sign``: makes an issuer's key, and signs license files with it.

``issuer`` writes a private key and, beside it, the public one (``.pub.pem``) for the folder
``issuers`` in the data folder of each license server that is to trust it.
"""

import argparse
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from services.common.errors import ConfigError, SwarmError
from services.license.adapters.keyring import make_key, read_key
from services.license.core.license_file import (
    NAMES,
    PRODUCT,
    License,
    LicensedFeature,
    key_id,
    mistake_in,
    sign,
)


def main(argv: list[str]) -> int:
    """Carry out one command; the exit code."""
    parser = argparse.ArgumentParser(prog="services.license.sign", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    issuer = commands.add_parser("issuer", help="make an issuer's key")
    issuer.add_argument("key", type=Path, help="file to write, e.g. issuer.pem")
    made = commands.add_parser("license", help="sign a license, print it")
    made.add_argument("key", type=Path, help="the issuer's private key")
    made.add_argument("--issuer", required=True, help="name of who signs")
    made.add_argument("--licensee", required=True, help="name of who may use it")
    made.add_argument("--product", default=PRODUCT)
    made.add_argument("--serial", default="", help="default: random")
    made.add_argument("--from", dest="begin", type=_day, help="first day, YYYY-MM-DD; today")
    made.add_argument("--until", type=_day, help="day on which it ends (0:00 UTC); perpetual")
    made.add_argument("--lock", default="any", help="server id, or any")
    made.add_argument(
        "--feature", action="append", required=True, type=_feature, metavar="ID=CAPACITY",
        help="again for each feature, e.g. 1100000378=5",
    )  # fmt: skip
    given = parser.parse_args(argv)
    try:
        if given.command == "issuer":
            _make_issuer(given.key)
        else:
            print(_signed(given))
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _make_issuer(path: Path) -> None:
    public = path.with_suffix(".pub.pem")
    for file in (path, public):
        if file.exists():
            raise ConfigError(
                f"{file} exists, and licenses may have been signed with it: name another file"
            )
    try:
        key = make_key(path)
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        public.write_bytes(pem)
    except OSError as exc:
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc
    print(f"key {key_id(key.public_key())}: keep {path} secret, put {public} into the folder")
    print("issuers/ of each license server's data folder")


def _signed(given: argparse.Namespace) -> str:
    key: Ed25519PrivateKey = read_key(given.key)
    try:
        document = License(
            issuer=given.issuer, key_id=key_id(key.public_key()), licensee=given.licensee,
            product=given.product, serial=given.serial or secrets.token_hex(8),
            not_before=given.begin or datetime.now(UTC).replace(microsecond=0),
            not_after=given.until, lock=given.lock,
            features=[
                LicensedFeature(
                    feature_id=feature, name=NAMES.get(feature, feature), capacity=capacity
                )
                for feature, capacity in given.feature
            ],
        )  # fmt: skip
    except ValidationError as exc:
        raise ConfigError(f"no license: {mistake_in(exc)}") from exc
    return sign(document, key)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: YYYY-MM-DD") from None


def _feature(text: str) -> tuple[str, int]:
    feature, _, capacity = text.partition("=")
    if not capacity.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: FEATURE=CAPACITY, e.g. 1100000378=5")
    return feature, int(capacity)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
