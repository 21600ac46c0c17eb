"""A story of operations told to the API by one of AWS's own clients, `boto3` or `awscli`, each step with success or with the exception that
it names. Run by tests/tests/api_operations.rs, which writes the story; it comes on the standard input:

{"client": "awscli", "endpoint": "http://…", "at_once": false, "vars": {"arn": "…"},
 "steps": [{"operation": "DescribeListener", "input": {"ListenerArn": "$arn"}, "is": null, "keep": {}, "setup": false}]}

A step that prepares (`setup`) is always boto3's. The last line of the output is what was kept, as JSON."""

import contextlib
import io
import json
import multiprocessing
import os
import re
import sys
import time

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_DEFAULT_REGION": "eu-central-1", "AWS_MAX_ATTEMPTS": "1", "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": ""}
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(KEYS)

import awscli.clidriver
import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

told = json.load(sys.stdin)
variables = told["vars"]
ga = boto3.client("globalaccelerator", endpoint_url=told["endpoint"], config=Config(retries={"total_max_attempts": 1}))
driver = awscli.clidriver.create_clidriver()
REFUSED = re.compile(r"An error occurred \((\w+)\) when calling the (\w+) operation[^:]*: (.+)")


def by_boto3(operation, given):
    """The answer, or the exception by its modelled class."""
    try:
        return getattr(ga, xform_name(operation))(**given), None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert isinstance(error, getattr(ga.exceptions, code, ())), f"{code} is not modelled"
        assert error.response["Error"]["Message"] and error.response["ResponseMetadata"]["RequestId"], error.response
        return None, code


def by_awscli(operation, given):
    """The same by the command line's own parser: a flag for every member."""
    arguments = ["globalaccelerator", xform_name(operation, "-"), "--endpoint-url", told["endpoint"], "--output", "json"]
    for member, value in given.items():
        flag = xform_name(member, "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list) and not any(isinstance(item, dict) for item in value):
            arguments += [f"--{flag}", *map(str, value)]
        elif isinstance(value, (dict, list)):
            arguments += [f"--{flag}", json.dumps(value)]
        else:
            arguments += [f"--{flag}", str(value)]
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = driver.main(arguments)
    if status == 0:
        return json.loads(out.getvalue() or "{}"), None
    refused = REFUSED.search(error.getvalue())
    assert refused and refused[2] == operation, (arguments, status, error.getvalue())
    return None, refused[1]


def filled(value):
    """With variables put in."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    return variables[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def tell(step):
    by = by_awscli if told["client"] == "awscli" and not step["setup"] else by_boto3
    given = filled(step["input"])
    answer, refused = by(step["operation"], given)
    assert refused == step["is"], f"{told['client']} {step['operation']} {given}: {refused or 'success'} instead of {step['is'] or 'success'}"
    for name, pointer in step["keep"].items():
        found = answer
        for part in pointer.strip("/").split("/"):
            found = found[int(part)] if isinstance(found, list) else found[part]
        variables[name] = found


began = time.monotonic()
if told["at_once"]:
    children = [multiprocessing.get_context("fork").Process(target=tell, args=(step,)) for step in told["steps"]]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
else:
    for step in told["steps"]:
        tell(step)
print(f"{told['client']}: {len(told['steps'])} steps in {time.monotonic() - began:.1f} s", file=sys.stderr)
print(json.dumps(variables))
