"""Client of the open Swarm Learning: put a ``SwarmCallback`` into your training program.

Import it for your framework: ``from swarmlearning.pyt import SwarmCallback``. Importing this
package alone imports no machine learning framework.
"""

__version__ = "0.1.0"
