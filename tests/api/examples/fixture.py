import dhtd
import pytest
from dhtd.testing import BlockingNetwork


def test_a_lookup_finds_the_service(dhtd_testnet: BlockingNetwork) -> None:
    with dhtd.connect_blocking(dhtd_testnet[0].socket) as here, here.serve("wiki", 8080):
        with dhtd.connect_blocking(dhtd_testnet[7].socket) as there:
            assert [endpoint.port for endpoint in there.lookup("wiki")] == [8080]


@pytest.mark.dhtd_testnet(3)
def test_a_killed_node_is_no_loss(dhtd_testnet: BlockingNetwork) -> None:
    dhtd_testnet.kill(0)
    with dhtd.connect_blocking(dhtd_testnet[1].socket) as dht:
        placed = dht.put(b"still here")
        assert dht.get(placed.id).data == b"still here"
