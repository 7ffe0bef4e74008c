"""`./ebctl bundle --worker`: the bundle for an environment of a single instance."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.tree import copy_tree
from tools.ebctl import bundle, certificate, cli, worker
from tools.ebctl.bundle import Bundle, BundleFile
from tools.ebctl.faults import EbctlError
from tools.ebctl.lint import findings_in

ARN = "arn:aws:acm:eu-central-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
DIGEST = f"registry.example.org/mysite@sha256:{'0123456789abcdef' * 4}"
FOR_MANY = {
    f".ebextensions/{name}.config" for name in ("https", "load-balancer", "rolling", "scaling")
}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a commit of the present tree, with HTTPS."""
    folder = copy_tree(tmp_path / "clone")
    certificate.write(folder, ARN)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for command in (["init"], ["add", "--all"], ["commit", "--message", "all"]):
        subprocess.run(
            ["git", *identity, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    monkeypatch.setattr(cli, "ROOT", folder)
    monkeypatch.chdir(folder)
    return folder


def config(text: str) -> Bundle:
    """Return a bundle with one .config file."""
    return Bundle({".ebextensions/own.config": BundleFile(text.encode())})


def test_worker_bundle_has_all_but_the_files_of_load_balancer_and_scaling(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bundle", "--worker"]) == 0

    written = bundle.read(clone / "var/eb/worker.zip").files
    whole = clone / "whole.zip"
    subprocess.run(["git", "archive", f"--output={whole}", "HEAD"], cwd=clone, check=True)
    assert set(bundle.read(whole).files) - set(written) == FOR_MANY
    # The commit, and the right to be run, are in it as `eb deploy` sends them.
    assert written["supervisor/entrypoint"] == bundle.read(whole).files["supervisor/entrypoint"]
    assert findings_in(clone / "var/eb/worker.zip") == []
    assert "left out: .ebextensions/https.config, .ebextensions/load-b" in capsys.readouterr().out


def test_worker_bundle_of_a_prebuilt_image_leaves_out_the_same_files(clone: Path) -> None:
    assert cli.main(["bundle", "--worker", "--image", DIGEST]) == 0

    with zipfile.ZipFile(clone / "var/eb/worker.zip") as written:
        names = set(written.namelist())
    assert "Dockerrun.aws.json" in names and ".ebextensions/application.config" in names
    assert not names & FOR_MANY


@pytest.mark.parametrize(
    "text",
    [
        "option_settings:\n  aws:autoscaling:trigger: {UpperThreshold: 60}\n",
        "option_settings:\n  aws:autoscaling:updatepolicy:rollingupdate: {MaxBatchSize: 1}\n",
        "option_settings:\n  aws:autoscaling:asg: {MinSize: 2}\n",
        "option_settings:\n  aws:elbv2:listener:8443: {Protocol: HTTPS}\n",
        "option_settings:\n  aws:elb:loadbalancer: {CrossZone: true}\n",
        "option_settings:\n  aws:elasticbeanstalk:environment:process:api: {Port: 81}\n",
        "option_settings:\n  aws:elasticbeanstalk:command: {DeploymentPolicy: Rolling}\n",
        "option_settings:\n  - namespace: aws:autoscaling:trigger\n    option_name: Unit\n"
        "    value: Count\n",
        "Resources:\n  AWSEBCloudwatchAlarmLow: {Properties: {ActionsEnabled: false}}\n",
        "Resources:\n  AWSEBV2LoadBalancerListener: {Properties: {Port: 80}}\n",
    ],
)
def test_single_instance_gets_nothing_of_a_load_balancer_or_of_scaling(text: str) -> None:
    assert worker.left_out(config(text)) == [".ebextensions/own.config"]


@pytest.mark.parametrize(
    "text",
    [
        "option_settings:\n  aws:ec2:instances: {InstanceTypes: t3.small}\n",
        "option_settings:\n  aws:elasticbeanstalk:command: {Timeout: 900}\n",
        "option_settings:\n  aws:elasticbeanstalk:environment: {ServiceRole: mine}\n",
        "commands:\n  one: {command: id}\n",
        "Resources:\n  AWSEBSecurityGroup: {Properties: {}}\n",
        "# nothing\n",
    ],
)
def test_single_instance_gets_everything_else(text: str) -> None:
    assert worker.left_out(config(text)) == []


def test_file_of_both_kinds_is_refused_with_both_names() -> None:
    text = (
        "commands:\n  one: {command: id}\n"
        "option_settings:\n  aws:autoscaling:trigger: {Unit: Count}\n"
    )

    with pytest.raises(EbctlError, match=r"own\.config has commands:, and .*trigger Unit.* Move"):
        worker.left_out(config(text))


def test_bundle_without_image_and_worker_says_what_to_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["bundle"]) == 2
    assert "--image" in capsys.readouterr().err
