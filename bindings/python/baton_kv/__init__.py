# SPDX-License-Identifier: Apache-2.0
from baton_kv._library import WATERMARK_END
