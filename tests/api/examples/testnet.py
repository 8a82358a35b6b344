import anyio
import dhtd
import dhtd.testing


async def main() -> None:
    async with dhtd.testing.testnet(8) as net:
        async with dhtd.connect(net[0].socket) as here, dhtd.connect(net[7].socket) as there:
            async with here.serve("wiki", 8080):
                await net.kill(3)
                await net.restart(3)
                print([str(endpoint) async for endpoint in there.lookup("wiki")])


anyio.run(main)
