#!/bin/sh
# Buckets of MinIO, and users who each reach one bucket. MC_HOST_store holds the administrator's login. It can run again.
set -eu

user() { # name, password, bucket
    cat >/tmp/policy.json <<EOF
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
   "Resource": ["arn:aws:s3:::$3"]},
  {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload",
   "s3:ListMultipartUploadParts"], "Resource": ["arn:aws:s3:::$3/*"]}
]}
EOF
    mc mb --ignore-existing "store/$3"
    mc admin policy create store "bucket-$3" /tmp/policy.json
    mc admin user add store "$1" "$2"
    mc admin policy attach store "bucket-$3" --user "$1" ||
        mc admin user info store "$1" | grep --quiet "bucket-$3" # attached before
}

user mlflow "${MINIO_MLFLOW_PASSWORD:?password of MLflow}" mlflow
user worker "${MINIO_WORKER_PASSWORD:?password of the worker}" dvc
user dvc "${MINIO_DVC_PASSWORD:?password of DVC}" dvc
