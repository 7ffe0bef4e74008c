"""The seeded faults for `./ebctl lint`, a table for each kind."""

from tests.unit.ebctl_faults import apps, container, platform, properties, resources, settings
from tests.unit.ebctl_faults.bundles import Fault

FAULTS: dict[str, Fault] = {
    **settings.FAULTS,
    **properties.FAULTS,
    **resources.FAULTS,
    **platform.FAULTS,
    **container.FAULTS,
    **apps.FAULTS,
}
