import pytest
from pydantic import TypeAdapter

from stages.params.addresses import Address, without_login

SECRET = "correct-horse"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"postgresql://lead:{SECRET}@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        (f"https://lead:{SECRET}@gpu.example/mlflow/", "https://***@gpu.example/mlflow/"),
        (f"http:/lead:{SECRET}@gpu.example", "http:/***@gpu.example"),  # taken for a path
        (f"https://{SECRET}@gpu.example", "https://***@gpu.example"),
        (f"postgresql://lead:a/b@{SECRET}@db/mlflow", "postgresql://***@db/mlflow"),
        (f"postgresql://db/mlflow?user=lead&password={SECRET}&sslmode=require",) * 2,
        (f"mysql://db/mlflow?ssl_password={SECRET}", "mysql://db/mlflow?ssl_password=***"),
        ("http://127.0.0.1:5000/#/experiments/1",) * 2,
        ("sqlite:////home/me@work/mlflow.db",) * 2,
        ("http://127.0.0.1:5000/get-artifact?path=a@b",) * 2,
        ("http://gpu.example/a@b",) * 2,
        ("file:mlruns",) * 2,
    ],
)
def test_an_address_is_shown_without_its_login(address, shown):
    got = without_login(address)
    assert SECRET not in got
    assert got == shown.replace(f"password={SECRET}", "password=***")


def test_a_message_is_shown_without_the_logins_of_its_addresses():
    told = f"from http://a:{SECRET}@one/x to 'http://b:{SECRET}@two' failed, mail me@work"
    assert without_login(told) == "from http://***@one/x to 'http://***@two' failed, mail me@work"


def test_a_parameter_with_a_login_is_refused_without_showing_it():
    assert TypeAdapter(Address).validate_python("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    with pytest.raises(ValueError, match=r"an address without a login is required.* got http://\*\*\*@team") as refused:
        TypeAdapter(Address).validate_python(f"http://lead:{SECRET}@team")
    assert "MLFLOW_TRACKING_PASSWORD" in str(refused.value)
