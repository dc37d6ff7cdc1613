#!/bin/sh
# MLflow's server with names and passwords, for a team. It takes everything from the environment (docker-compose.yaml says
# what), and starts without none of it.
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

exec mlflow server --app-name basic-auth \
    --backend-store-uri "${MLFLOW_STORE:?database of the runs}" \
    --artifacts-destination "${MLFLOW_ARTIFACTS:?where artifacts lie}" \
    --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:?hosts by which it is called}" \
    --cors-allowed-origins "${MLFLOW_ALLOWED_ORIGINS:-}" \
    --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}"
