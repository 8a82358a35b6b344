import os

import anyio
import dhtd


async def main() -> None:
    async with dhtd.connect() as dht:
        placed = await dht.put(b"see you at noon")
        print((await dht.get(placed.id)).data.decode())

        key = dhtd.SigningKey(os.urandom(32))  # or SigningKey.read("me.key")
        await dht.put(b"one", key=key, salt=b"news")
        await dht.put(b"two", key=key, salt=b"news")
        print((await dht.get(key.public_key, salt=b"news")).data.decode())


anyio.run(main)
