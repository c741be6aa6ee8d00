"""Makes the restricted socket a port of the machine it runs on, for clients that know no sockets: in a container, beside Prefect.

    python forward.py /run/prefect-auth/authd.sock &

Port 80 of the container's own 127.0.0.1, because the daemon answers to the bare name `localhost` there. It holds no secret.
"""
import asyncio
import sys

PATH = sys.argv[1]
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 80


async def pump(reader, writer):
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    try:
        up_reader, up_writer = await asyncio.open_unix_connection(PATH)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))


async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', PORT)
    await server.serve_forever()


asyncio.run(main())
