"""A small Elastic Beanstalk: as much of its API as the real `eb` client needs for the rehearsal.

A call is a form by POST, its answer XML. https://docs.aws.amazon.com/elasticbeanstalk/latest/api/Welcome.html
Options that are given to an environment win over its saved configuration, and these over
.ebextensions.
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
OWN_ARN = "arn:aws:elasticbeanstalk:us-east-1:123456789012:environment"
BUCKET = "elasticbeanstalk-us-east-1-123456789012"
# The stand-in for S3 looks whether a call is signed, not by whom.
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=none"
)
LAUNCHED = "Successfully launched environment: {}"
UPDATED = "Environment update completed successfully."
FAILED = "Failed to deploy application."

Form = dict[str, str]


class UnknownError(Exception):
    """What AWS answers 400 to."""


@dataclass
class Environment:
    """An environment, as it is described to the client."""

    name: str
    application: str
    version: str
    platform: Platform
    saved: Options
    given: Options
    status: str = "Launching"
    health: str = "Grey"
    identity: str = field(default_factory=lambda: f"e-{uuid.uuid4().hex[:10]}")

    def described(self) -> dict[str, Any]:
        """Return it as DescribeEnvironments does."""
        return {
            "EnvironmentName": self.name,
            "EnvironmentId": self.identity,
            "EnvironmentArn": f"{OWN_ARN}/{self.application}/{self.name}",
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
    """The service: its state, its actions by their names, and the server before them."""

    def __init__(self, s3: str, folder: Path, platform: Callable[[str], Platform]) -> None:
        """Start to listen.

        Args:
            s3: where S3 is, http://host:port.
            folder: for bundles and all that is made of them.
            platform: makes an environment's platform, by the environment's name.
        """
        self.s3 = s3
        self.folder = folder
        self.make_platform = platform
        self.applications: set[str] = set()
        self.versions: dict[str, dict[str, str]] = {}
        self.environments: dict[str, Environment] = {}
        self.events: list[dict[str, str]] = []
        # Every action that was asked for, in order, for the tests.
        self.calls: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(self))
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """End it, and all environments."""
        self.server.shutdown()
        for environment in self.environments.values():
            environment.platform.remove()

    def answer(self, form: Form) -> tuple[int, bytes]:
        """Return the status and the body for a call."""
        action = form["Action"]
        self.calls.append(action)
        request = str(uuid.uuid4())
        try:
            perform = getattr(self, f"do_{action}", None)
            if perform is None:
                raise UnknownError(f"the rehearsal does not know {action}")
            return 200, success(action, perform(form, request), request)
        except UnknownError as error:
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
        asked = members(form, "ApplicationNames") or sorted(self.applications)
        found = [name for name in asked if name in self.applications]
        return {"Applications": [{"ApplicationName": name} for name in found]}

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
        self.fetch(path, self.bundle(label))
        return {"ApplicationVersion": version}

    def do_DescribeApplicationVersions(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        asked = members(form, "VersionLabels") or list(self.versions)
        found = [self.versions[label] for label in asked if label in self.versions]
        return {"ApplicationVersions": found}

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
        self.tell(environment, request, "createEnvironment is starting.")
        self.work(environment, request, lambda: self.launch(environment))
        return environment.described()

    def do_DescribeEnvironments(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        asked = members(form, "EnvironmentNames") or list(self.environments)
        found = [self.environments[name] for name in asked if name in self.environments]
        return {"Environments": [environment.described() for environment in found]}

    def do_DescribeConfigurationSettings(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        environment = self.named(form["EnvironmentName"])
        options = [
            {"Namespace": namespace, "OptionName": name, "Value": value}
            for (namespace, name), value in self.options(environment).items()
        ]
        described = environment.described()
        settings = {**described, "OptionSettings": options, "DeploymentStatus": "deployed"}
        return {"ConfigurationSettings": [settings]}

    def do_UpdateEnvironment(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        environment = self.named(form["EnvironmentName"])
        environment.status = "Updating"
        label = form.get("VersionLabel", environment.version)
        environment.given |= given_options(form)
        rolls = "VersionLabel" in form
        self.tell(environment, request, "Environment update is starting.")
        self.work(environment, request, lambda: self.update(environment, label, rolls=rolls))
        return environment.described()

    def do_DescribeEvents(self, form: Form, request: str) -> dict[str, Any]:  # noqa: N802
        found = [
            event
            for event in reversed(self.events)
            if event["RequestId"] == form.get("RequestId", event["RequestId"])
            and event["EnvironmentName"] == form.get("EnvironmentName", event["EnvironmentName"])
            and event["EventDate"] >= timestamp(form.get("StartTime", ""))
        ]
        return {"Events": found}

    # The work behind

    def named(self, name: str) -> Environment:
        """Return an environment, or refuse the call."""
        if name not in self.environments:
            raise UnknownError(f"No Environment found for EnvironmentName = '{name}'.")
        return self.environments[name]

    def launch(self, environment: Environment) -> str:
        """Create an environment's instances and return the last event's message."""
        bundle = self.bundle(environment.version)
        given = {**environment.saved, **environment.given}
        release = environment.platform.prepare(environment.version, bundle, given)
        environment.platform.create(release)
        return LAUNCHED.format(environment.name)

    def update(self, environment: Environment, label: str, *, rolls: bool) -> str:
        """Bring a version, or changed options, to the instances; return the last message."""
        given = {**environment.saved, **environment.given}
        release = environment.platform.prepare(label, self.bundle(label), given)
        (environment.platform.deploy if rolls else environment.platform.update)(release)
        environment.version = label
        return UPDATED

    def work(self, environment: Environment, request: str, task: Callable[[], str]) -> None:
        """Do it in parallel to the answer; its end is an event."""

        def run() -> None:
            try:
                message, severity = task(), "INFO"
            except DeployError as error:
                self.tell(environment, request, str(error), "ERROR")
                message, severity = FAILED, "ERROR"
            except Exception:
                # A fault of the rehearsal itself: the client must not wait for ever.
                self.tell(environment, request, traceback.format_exc(), "ERROR")
                message, severity = FAILED, "ERROR"
            environment.status = "Ready"
            environment.health = "Green" if severity == "INFO" else "Yellow"
            self.tell(environment, request, message, severity)

        threading.Thread(target=run, daemon=True).start()

    def tell(
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
        """Return the options of an environment that do not come from its bundle."""
        return {**environment.saved, **environment.given}

    def saved_options(self, application: str, template: str | None) -> Options:
        """Return the options of a saved configuration, which the client has put into S3."""
        if template is None:
            return {}
        path = self.folder / f"{template}.cfg.yml"
        self.fetch(f"{BUCKET}/resources/templates/{application}/{template}", path)
        content = yaml.safe_load(path.read_text())["OptionSettings"]
        return {
            (namespace, name): str(value)
            for namespace, options in content.items()
            for name, value in options.items()
        }

    def bundle(self, label: str) -> Path:
        """Return where a version's bundle is kept."""
        return self.folder / f"{urllib.parse.quote(label, safe='')}.zip"

    def fetch(self, path: str, target: Path) -> None:
        """Get an object of S3."""
        call = urllib.request.Request(
            f"{self.s3}/{urllib.parse.quote(path)}", headers={"Authorization": SIGNED}
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


def members(form: Form, name: str) -> list[str]:
    """Return a list of a form: Name.member.1, Name.member.2."""
    found: list[str] = []
    while (value := form.get(f"{name}.member.{len(found) + 1}")) is not None:
        found.append(value)
    return found


def given_options(form: Form) -> Options:
    """Return the options that a call gives."""
    found: Options = {}
    number = 1
    while (namespace := form.get(f"OptionSettings.member.{number}.Namespace")) is not None:
        prefix = f"OptionSettings.member.{number}"
        found[namespace, form[f"{prefix}.OptionName"]] = form.get(f"{prefix}.Value", "")
        number += 1
    return found


def properties(options: Options) -> dict[str, str]:
    """Return the environment properties among options."""
    return {name: value for (namespace, name), value in options.items() if namespace == PROPERTIES}


def now() -> str:
    """Return the time as AWS writes it."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def timestamp(text: str) -> str:
    """Return a time of the client's in the form of `now`, so that the two can be compared."""
    if not text:
        return ""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def success(action: str, result: dict[str, Any], request: str) -> bytes:
    """Return the XML of an answer."""
    root = Element(f"{action}Response", xmlns=NAMESPACE)
    fill(SubElement(root, f"{action}Result"), result)
    SubElement(SubElement(root, "ResponseMetadata"), "RequestId").text = request
    return tostring(root, encoding="utf-8")


def failure(message: str, request: str) -> bytes:
    """Return the XML of a refusal."""
    root = Element("ErrorResponse", xmlns=NAMESPACE)
    content = {"Type": "Sender", "Code": "InvalidParameterValue", "Message": message}
    fill(SubElement(root, "Error"), content)
    SubElement(root, "RequestId").text = request
    return tostring(root, encoding="utf-8")


def fill(element: Element, content: dict[str, Any]) -> None:
    """Put content into an element; a list's items are called `member`."""
    for name, value in content.items():
        put(SubElement(element, name), value)


def put(element: Element, value: Any) -> None:
    """Put one value into an element."""
    if isinstance(value, dict):
        fill(element, value)
    elif isinstance(value, list):
        for item in value:
            put(SubElement(element, "member"), item)
    else:
        element.text = str(value)


def handler_for(service: FakeBeanstalk) -> type[BaseHTTPRequestHandler]:
    """Return the class that hands calls to a service."""

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
            """Say nothing; `calls` remembers."""

    return Handler
