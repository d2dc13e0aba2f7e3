"""`python -m compressed_lens` is `clens`."""

import sys

from compressed_lens.cli.main import main

sys.exit(main())
