#!/bin/sh
# MLflow's server with logins, for a team. It takes everything from the environment (docker-compose.yaml says what) and does
# not start if anything is missing. Addresses with passwords stay in the environment: arguments are visible to other users.
set -eu

config=$(mktemp)
cat >"$config" <<EOF
[mlflow]
default_permission = ${MLFLOW_DEFAULT_PERMISSION:-EDIT}
database_uri = ${MLFLOW_USERS:?database of the users}
admin_username = ${MLFLOW_AUTH_ADMIN_USERNAME:?name of the administrator}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
EOF
export MLFLOW_AUTH_CONFIG_PATH="$config"
: "${MLFLOW_AUTH_ADMIN_PASSWORD:?password of the administrator}" "${MLFLOW_FLASK_SERVER_SECRET_KEY:?a long random text}"

export MLFLOW_BACKEND_STORE_URI="${MLFLOW_STORE:?database of the runs}"

exec mlflow server --app-name basic-auth \
    --artifacts-destination "${MLFLOW_ARTIFACTS:?where artifacts lie}" \
    --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:?hosts by which it is called}" \
    --cors-allowed-origins "${MLFLOW_ALLOWED_ORIGINS:-}" \
    --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}"
