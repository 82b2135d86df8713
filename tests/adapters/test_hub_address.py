from __future__ import annotations

import pytest

from routing_gym.adapters.hub_address import HubFolder

ADDRESSES = {
    "hf://me/router": HubFolder("me/router"),
    "hf://me/router@v1": HubFolder("me/router", revision="v1"),
    "hf://me/router@v1/a/b": HubFolder("me/router", "a/b", "v1"),
    "hf://datasets/me/outcomes": HubFolder("me/outcomes", kind="dataset"),
    "hf://datasets/me/outcomes@main/a": HubFolder("me/outcomes", "a", "main", "dataset"),
    "hf://spaces/me/router": HubFolder("me/router", kind="space"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_reads_addresses(address: str) -> None:
    assert HubFolder.parse(address) == ADDRESSES[address]
    assert HubFolder.parse(f"{address}/") == ADDRESSES[address]
    assert str(ADDRESSES[address]) == address


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://me",
        "hf:///router",
        "me/router",
        "hf://me/",
        "hf://datasets/me",
        "hf://spaces//x",
        "hf://me/router/../other",
        "hf://me/@v1",
    ],
)
def test_refuses_addresses_without_a_repository(address: str) -> None:
    with pytest.raises(ValueError, match=r"is no repository folder: write hf://owner/name"):
        HubFolder.parse(address)


@pytest.mark.parametrize(("path", "place"), [("", "a.txt"), ("x/y", "x/y/a.txt")])
def test_files_lie_in_the_folder(path: str, place: str) -> None:
    assert HubFolder("me/router", path).inside("a.txt") == place
