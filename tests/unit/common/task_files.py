"""Task files in all the shapes that ``compat/04`` names."""

from services.common.task_api import TaskInfo

RUN = """\
Name: digits_run
TaskType : RUN_SWARM     # a blank before the colon
Author: someone
Prereq: digits_env
Outcome: digits_run
Body:
    Command: model/digits.py --cuda
    Entrypoint: python3
    WorkingDir: /tmp/test
    Envvars: ["DATA_DIR": app-data, "MAX_EPOCHS": 2, SWARM_LOOPBACK: True, ]
    PrivateContent: /tmp/test/
    SharedContent:
    - Src: /srv/digits/model
      Tgt: /tmp/test/model
      MType: BIND
    - {Src: digits-data, Tgt: /data, MType: VOLUME}
"""
BUILD = """\
TaskType: MAKE_USER_CONTAINER
Name: digits_env
Author: 'someone'
Prereq: ROOTTASK
Outcome: user-env-digits
Body:
  BuildContext: sl-cli-lib
  BuildType: INLINE
  BuildSteps:
  - FROM python:3.12-slim
  - ' '
  - 'RUN pip install --upgrade pip==24.0 && \\'
  - '  pip install "torch==2.2.0" torchmetrics'
  - ' '
  - COPY swarmlearning-client-py3-none-manylinux_2_24_x86_64.whl /tmp/WHEEL
  - "RUN echo 'a: b' # not a comment"
  - ''
""".replace("WHEEL", "swarmlearning-client-py3-none-manylinux_2_24_x86_64.whl")
CONTENT = """\
Name: digits_data
TaskType: MAKE_SWARM_USER_CONTENT
Author: someone
Prereq: ROOTTASK
Outcome: digits-data
Body:
  ContentType: SWARMCONTENT
  OpsList:
  - Operation: DOWNLOAD
    Target: https://data.example.org/digits.tgz
    Options: [Out: digits.tgz]
  - Operation: EXTRACT
    Target: digits.tgz
    Options:
    - Out: app-data
  - Operation: DOWNLOAD
    Target: http://data.example.org/more
"""
PULL = """\
Name: pull
TaskType: PULL_IMAGE
Author: someone
Prereq: ROOTTASK
Outcome: registry.example.org/team/digits:2.10
Body: {Tag: '2.10', RepoName: digits, OrgAndReg: registry.example.org/team/, Auth: ~}
"""


def info(type, lines, header=None):
    return TaskInfo(
        name=header.name if header else "t",
        type=type,
        author=header.author if header else "a",
        prereq=header.prereq if header else "ROOTTASK",
        outcome=header.outcome if header else "out-come",
        finalized=True,
        lines=len(lines),
        created=0,
        body=lines,
    )
