"""The parity gate: does what ships see the same as torch does?"""
