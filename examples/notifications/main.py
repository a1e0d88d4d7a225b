from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from starlette import status

from seawall import Seawall

app = FastAPI()
Seawall(app)


def write_log(message: str):
    with open("log.txt", mode="a") as log:
        log.write(f"{message}\n")


def get_query(background_tasks: BackgroundTasks, q: str | None = None):
    if q:
        background_tasks.add_task(write_log, f"found query: {q}")
    return q


@app.get("/")
async def root():
    return {"message": "Hello World"}


@app.post("/send-notification/{email}")
async def send_notification(
    email: str, background_tasks: BackgroundTasks, q: Annotated[str | None, Depends(get_query)]
):
    background_tasks.add_task(write_log, f"message to {email}")
    return {"message": "Message sent"}


@app.get("/201/", status_code=status.HTTP_201_CREATED)
async def created():
    return {"httpStatus": 201}


@app.get("/302/", status_code=status.HTTP_302_FOUND)
async def found():
    return {"httpStatus": 302}


@app.get("/404/", status_code=status.HTTP_404_NOT_FOUND)
async def not_found():
    return {"httpStatus": 404}


@app.get("/500/", status_code=status.HTTP_500_INTERNAL_SERVER_ERROR)
async def internal_server_error():
    return {"httpStatus": 500}
