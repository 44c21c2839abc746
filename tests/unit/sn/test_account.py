"""What an SN signs is what ``eth_account`` would sign."""

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.sn.adapters.account import SwarmAccount, account_of

KEYS = st.integers(1, 1 << 200).map(lambda number: number.to_bytes(32, "big"))
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: f"0x{raw.hex()}")


@given(
    key=KEYS, chain_id=st.integers(1, 1 << 62), nonce=st.integers(0, 1 << 40),
    gas=st.integers(21_000, 15_000_000), to=st.none() | ADDRESSES, data=st.binary(max_size=200),
)  # fmt: skip
def test_the_same_bytes_as_eth_account(key, chain_id, nonce, gas, to, data):
    fields = {
        "chainId": chain_id, "nonce": nonce, "gas": gas, "gasPrice": 0, "value": 0, "data": data,
        **({} if to is None else {"to": bytes.fromhex(to[2:])}),
    }  # fmt: skip
    account = SwarmAccount(key)
    assert account.address == Account.from_key(key).address
    raw = account.signed(chain_id=chain_id, nonce=nonce, gas=gas, to=to, data=data)
    assert raw == bytes(Account.sign_transaction(fields, key).raw_transaction)


def test_a_key_is_made_once(tmp_path):
    made = account_of(tmp_path / "key", may_make=True)
    assert account_of(tmp_path / "key", may_make=False).address == made.address


@pytest.mark.parametrize("text", ["", "0x", "12" * 31, "12" * 33, "zz" * 32, "00" * 32, "ff" * 32])
def test_a_key_file_that_holds_none(tmp_path, text):
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfigError, match="cannot use the account key"):
        account_of(tmp_path / "key", may_make=False)
