"""A fake Elastic Beanstalk with the part of the API that the `eb` client needs in the rehearsal.

Calls are POSTed forms, responses XML. https://docs.aws.amazon.com/elasticbeanstalk/latest/api/Welcome.html
Options of an environment override its saved configuration, which overrides .ebextensions.
"""

import datetime
import threading
import traceback
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import yaml

from tests.eb.fake_platform import PROPERTIES, DeployError, Options, Platform

NAMESPACE = "http://elasticbeanstalk.amazonaws.com/docs/2010-12-01/"
BRANCH = "Docker running on 64bit Amazon Linux 2023"
STACK = "64bit Amazon Linux 2023 v4.7.2 running Docker"
ARN = f"arn:aws:elasticbeanstalk:us-east-1::platform/{BRANCH}/4.7.2"
ENVIRONMENT_ARN = "arn:aws:elasticbeanstalk:us-east-1:123456789012:environment"
BUCKET = "elasticbeanstalk-us-east-1-123456789012"
# The fake S3 requires a signature, but does not verify it.
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=none"
)
LAUNCHED = "Successfully launched environment: {}"
UPDATED = "Environment update completed successfully."
FAILED = "Failed to deploy application."

Form = dict[str, str]


class BadRequestError(Exception):
    """A call that AWS answers with 400."""


@dataclass
class Environment:
    """An environment, as the API describes it."""

    name: str
    application: str
    version: str
    platform: Platform
    saved: Options
    given: Options
    status: str = "Launching"
    health: str = "Grey"
    identity: str = field(default_factory=lambda: f"e-{uuid.uuid4().hex[:10]}")

    def describe(self) -> dict[str, Any]:
        """Return its entry in the response to DescribeEnvironments."""
        return {
            "EnvironmentName": self.name,
            "EnvironmentId": self.identity,
            "EnvironmentArn": f"{ENVIRONMENT_ARN}/{self.application}/{self.name}",
            "ApplicationName": self.application,
            "VersionLabel": self.version,
            "SolutionStackName": STACK,
            "PlatformArn": ARN,
            "CNAME": f"127.0.0.1:{self.platform.balancer.port}",
            "EndpointURL": f"127.0.0.1:{self.platform.balancer.port}",
            "DateCreated": now(),
            "DateUpdated": now(),
            "Status": self.status,
            "Health": self.health,
            "AbortableOperationInProgress": "false",
            "Tier": {"Name": "WebServer", "Type": "Standard", "Version": "1.0"},
        }


class FakeBeanstalk:
    """The service: its state, its API actions (do_ACTION), and its HTTP server."""

    def __init__(self, s3: str, folder: Path, platform: Callable[[str], Platform]) -> None:
        """Start the HTTP server.

        Args:
            s3: the URL of S3, http://host:port.
            folder: the folder of bundles and files made from them.
            platform: creates the platform of an environment, by the environment's name.
        """
        self.s3 = s3
        self.folder = folder
        self.make_platform = platform
        self.applications: set[str] = set()
        self.versions: dict[str, dict[str, str]] = {}
        self.environments: dict[str, Environment] = {}
        self.events: list[dict[str, str]] = []
        # Every called action, in order.
        self.calls: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop the server, and remove all environments."""
        self.server.shutdown()
        for environment in self.environments.values():
            environment.platform.remove()

    def answer(self, form: Form) -> tuple[int, bytes]:
        """Return the status and the body of the response to a call."""
        action = form["Action"]
        self.calls.append(action)
        request = str(uuid.uuid4())
        try:
            perform = getattr(self, f"do_{action}", None)
            if perform is None:
                raise BadRequestError(f"the fake service has no action {action}")
            return 200, success(action, perform(form, request), request)
        except BadRequestError as error:
            return 400, failure(str(error), request)

    # Platforms

    def do_ListPlatformBranches(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        branch = {
            "PlatformName": "Docker",
            "BranchName": BRANCH,
            "LifecycleState": "Supported",
            "BranchOrder": "1",
            "SupportedTierList": ["WebServer/Standard", "Worker/SQS/HTTP"],
        }
        return {"PlatformBranchSummaryList": [branch]}

    def do_ListPlatformVersions(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        return {"PlatformSummaryList": [platform_version()]}

    def do_DescribePlatformVersion(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        return {"PlatformDescription": platform_version()}

    def do_ListAvailableSolutionStacks(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        return {"SolutionStacks": [STACK], "SolutionStackDetails": [{"SolutionStackName": STACK}]}

    # Applications and versions

    def do_CreateApplication(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        self.applications.add(form["ApplicationName"])
        return {"Application": {"ApplicationName": form["ApplicationName"]}}

    def do_DescribeApplications(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        requested = list_members(form, "ApplicationNames") or sorted(self.applications)
        names = [name for name in requested if name in self.applications]
        return {"Applications": [{"ApplicationName": name} for name in names]}

    def do_CreateStorageLocation(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        call = urllib.request.Request(f"{self.s3}/{BUCKET}", method="PUT")
        urllib.request.urlopen(call, timeout=10).close()
        return {"S3Bucket": BUCKET}

    def do_CreateApplicationVersion(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        label = form["VersionLabel"]
        version = {
            "ApplicationName": form["ApplicationName"],
            "VersionLabel": label,
            "Status": "UNPROCESSED",
            "DateCreated": now(),
            "DateUpdated": now(),
        }
        self.versions[label] = version
        path = f"{form['SourceBundle.S3Bucket']}/{form['SourceBundle.S3Key']}"
        self.download(path, self.bundle(label))
        return {"ApplicationVersion": version}

    def do_DescribeApplicationVersions(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        requested = list_members(form, "VersionLabels") or list(self.versions)
        versions = [self.versions[label] for label in requested if label in self.versions]
        return {"ApplicationVersions": versions}

    # Environments

    def do_CheckDNSAvailability(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        return {"Available": "true", "FullyQualifiedCNAME": form["CNAMEPrefix"]}

    def do_ValidateConfigurationSettings(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        return {"Messages": []}

    def do_CreateEnvironment(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        name = form["EnvironmentName"]
        application = form["ApplicationName"]
        saved = self.saved_options(application, form.get("TemplateName"))
        environment = Environment(
            name=name,
            application=application,
            version=form["VersionLabel"],
            platform=self.make_platform(name),
            saved=saved,
            given=given_options(form),
        )
        self.environments[name] = environment
        self.add_event(environment, request, "createEnvironment is starting.")
        self.run_in_background(environment, request, lambda: self.launch(environment))
        return environment.describe()

    def do_DescribeEnvironments(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        requested = list_members(form, "EnvironmentNames") or list(self.environments)
        environments = [self.environments[name] for name in requested if name in self.environments]
        return {"Environments": [environment.describe() for environment in environments]}

    def do_DescribeConfigurationSettings(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        environment = self.require_environment(form["EnvironmentName"])
        options = [
            {"Namespace": namespace, "OptionName": name, "Value": value}
            for (namespace, name), value in self.options(environment).items()
        ]
        described = environment.describe()
        settings = {**described, "OptionSettings": options, "DeploymentStatus": "deployed"}
        return {"ConfigurationSettings": [settings]}

    def do_UpdateEnvironment(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        environment = self.require_environment(form["EnvironmentName"])
        environment.status = "Updating"
        label = form.get("VersionLabel", environment.version)
        environment.given |= given_options(form)
        is_deploy = "VersionLabel" in form
        self.add_event(environment, request, "Environment update is starting.")
        self.run_in_background(
            environment, request, lambda: self.update(environment, label, is_deploy=is_deploy)
        )
        return environment.describe()

    def do_DescribeEvents(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        events = [
            event
            for event in reversed(self.events)
            if event["RequestId"] == form.get("RequestId", event["RequestId"])
            and event["EnvironmentName"] == form.get("EnvironmentName", event["EnvironmentName"])
            and event["EventDate"] >= timestamp(form.get("StartTime", ""))
        ]
        return {"Events": events}

    # Implementation of the actions

    def require_environment(self, name: str) -> Environment:
        """Return an environment, or raise BadRequestError."""
        if name not in self.environments:
            raise BadRequestError(f"No Environment found for EnvironmentName = '{name}'.")
        return self.environments[name]

    def launch(self, environment: Environment) -> str:
        """Create the instances of an environment, and return the message of the last event."""
        bundle = self.bundle(environment.version)
        given = {**environment.saved, **environment.given}
        release = environment.platform.prepare(environment.version, bundle, given)
        environment.platform.create(release)
        return LAUNCHED.format(environment.name)

    def update(self, environment: Environment, label: str, *, is_deploy: bool) -> str:
        """Deploy a version or changed options, and return the message of the last event."""
        given = {**environment.saved, **environment.given}
        release = environment.platform.prepare(label, self.bundle(label), given)
        (environment.platform.deploy if is_deploy else environment.platform.update)(release)
        environment.version = label
        return UPDATED

    def run_in_background(
        self, environment: Environment, request: str, task: Callable[[], str]
    ) -> None:
        """Run a task in a thread, and add an event when it ends."""

        def run() -> None:
            try:
                message, severity = task(), "INFO"
            except DeployError as error:
                self.add_event(environment, request, str(error), "ERROR")
                message, severity = FAILED, "ERROR"
            except Exception:
                # A bug of the fake service; without an event the client would wait forever.
                self.add_event(environment, request, traceback.format_exc(), "ERROR")
                message, severity = FAILED, "ERROR"
            environment.status = "Ready"
            environment.health = "Green" if severity == "INFO" else "Yellow"
            self.add_event(environment, request, message, severity)

        threading.Thread(target=run, daemon=True).start()

    def add_event(
        self, environment: Environment, request: str, message: str, severity: str = "INFO"
    ) -> None:
        """Add an event."""
        self.events.append(
            {
                "EventDate": now(),
                "Message": message,
                "ApplicationName": environment.application,
                "EnvironmentName": environment.name,
                "RequestId": request,
                "Severity": severity,
            }
        )

    def options(self, environment: Environment) -> Options:
        """Return the options of an environment that are not from its bundle."""
        return {**environment.saved, **environment.given}

    def saved_options(self, application: str, template: str | None) -> Options:
        """Return the options of a saved configuration, which the client has uploaded to S3."""
        if template is None:
            return {}
        path = self.folder / f"{template}.cfg.yml"
        self.download(f"{BUCKET}/resources/templates/{application}/{template}", path)
        content = yaml.safe_load(path.read_text())["OptionSettings"]
        return {
            (namespace, name): str(value)
            for namespace, options in content.items()
            for name, value in options.items()
        }

    def bundle(self, label: str) -> Path:
        """Return the path of the bundle of a version."""
        return self.folder / f"{urllib.parse.quote(label, safe='')}.zip"

    def download(self, path: str, target: Path) -> None:
        """Download an object from S3."""
        call = urllib.request.Request(
            f"{self.s3}/{urllib.parse.quote(path)}", headers={"Authorization": AUTHORIZATION}
        )
        with urllib.request.urlopen(call, timeout=30) as answer:
            target.write_bytes(answer.read())


def platform_version() -> dict[str, Any]:
    """Return the one platform version."""
    return {
        "PlatformArn": ARN,
        "PlatformOwner": "AWSElasticBeanstalk",
        "PlatformStatus": "Ready",
        "PlatformCategory": "Docker",
        "PlatformName": BRANCH,
        "PlatformVersion": "4.7.2",
        "PlatformBranchName": BRANCH,
        "PlatformBranchLifecycleState": "Supported",
        "PlatformLifecycleState": "Recommended",
        "SolutionStackName": STACK,
        "OperatingSystemName": "Amazon Linux",
        "OperatingSystemVersion": "2023",
        "SupportedTierList": ["WebServer/Standard"],
    }


def list_members(form: Form, name: str) -> list[str]:
    """Return a list from a form: Name.member.1, Name.member.2."""
    values: list[str] = []
    while (value := form.get(f"{name}.member.{len(values) + 1}")) is not None:
        values.append(value)
    return values


def given_options(form: Form) -> Options:
    """Return the options of a call."""
    options: Options = {}
    number = 1
    while (namespace := form.get(f"OptionSettings.member.{number}.Namespace")) is not None:
        prefix = f"OptionSettings.member.{number}"
        options[namespace, form[f"{prefix}.OptionName"]] = form.get(f"{prefix}.Value", "")
        number += 1
    return options


def properties(options: Options) -> dict[str, str]:
    """Return the environment properties of the options."""
    return {name: value for (namespace, name), value in options.items() if namespace == PROPERTIES}


def now() -> str:
    """Return the time in the format of AWS."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def timestamp(text: str) -> str:
    """Return a time of the client in the format of `now`, for comparison."""
    if not text:
        return ""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def success(action: str, result: dict[str, Any], request: str) -> bytes:
    """Return the XML of a successful response."""
    root = Element(f"{action}Response", xmlns=NAMESPACE)
    add_children(SubElement(root, f"{action}Result"), result)
    SubElement(SubElement(root, "ResponseMetadata"), "RequestId").text = request
    return tostring(root, encoding="utf-8")


def failure(message: str, request: str) -> bytes:
    """Return the XML of an error response."""
    root = Element("ErrorResponse", xmlns=NAMESPACE)
    content = {"Type": "Sender", "Code": "InvalidParameterValue", "Message": message}
    add_children(SubElement(root, "Error"), content)
    SubElement(root, "RequestId").text = request
    return tostring(root, encoding="utf-8")


def add_children(element: Element, content: dict[str, Any]) -> None:
    """Add child elements to an element."""
    for name, value in content.items():
        set_content(SubElement(element, name), value)


def set_content(element: Element, value: Any) -> None:
    """Set the content of an element; the items of a list are named `member`."""
    if isinstance(value, dict):
        add_children(element, value)
    elif isinstance(value, list):
        for item in value:
            set_content(SubElement(element, "member"), item)
    else:
        element.text = str(value)


def make_handler(service: FakeBeanstalk) -> type[BaseHTTPRequestHandler]:
    """Return a handler class that passes calls to a service."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode(), True))
            status, body = service.answer(form)
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing; `calls` records the actions."""

    return Handler
