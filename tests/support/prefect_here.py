"""Prefect's API in a thread of this process, in a second: what its client is told is what a real server tells it."""

import asyncio
import threading
from contextlib import contextmanager

from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings
from waiting import wait_for


@contextmanager
def prefect_here(folder):
    """Serve the API with a database in `folder`; yield its URL. Nothing is scheduled and no automation fires."""
    import uvicorn
    from prefect.server.api.server import create_api_app

    server = uvicorn.Server(uvicorn.Config(create_api_app(), port=0, lifespan="off", ws="none", log_config=None))
    database = f"sqlite+aiosqlite:///{folder / 'prefect.db'}"

    def serve():
        with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: database}):
            asyncio.run(_serve(server))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive())
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


async def _serve(server):
    """Make the tables as Prefect's models say, without the eight seconds of all its migrations; then serve."""
    from prefect.server.database import provide_database_interface

    database = provide_database_interface()
    for table in database.Base.metadata.tables.values():
        table.indexes = set({index.name: index for index in table.indexes}.values())  # some are declared twice
    async with (await database.engine()).begin() as connection:
        await connection.run_sync(database.Base.metadata.create_all)
    await server.serve()
