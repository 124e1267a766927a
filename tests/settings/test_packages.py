"""Which modules the checks of settings come with: those of an export come later in the order of imports."""

import subprocess
import sys


def test_checking_settings_imports_nothing_of_exports():
    program = (
        "import sys, wavesweep.settings.rules; print([name for name in sys.modules if 'wavesweep.experiment' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
