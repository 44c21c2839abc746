"""Profiles of our own in the shapes that ``compat/04`` names."""

FULL = """\
groupname : demo
taskrunner : runner.taskdb.sml.hpe
policyuri : ~
resourcemgr :
  mgrtype : DOCKER
  accessinfo :
    accesstype : FROMENV
network : host-1-net
apls :
  locator :
    host : 10.0.0.9
    port : 5000
apisrv :
  locator :
    host : sn1
    port : null
    service : ~
envvars :
  - SL_LOG_LEVEL : INFO
  - http_proxy :
dns : [10.0.0.53]
nodes :
  - slnodedef :
      idx : 0
      identity :
        - attribute :
            aType : KEY
            mType : BIND
            src : /site/cert/sl-1-key.pem
            tgt : /swarm-cert/sl-1-key.pem
        - attribute :
            aType : CERT
            mType : BIND
            src : /site/cert/sl-1-cert.pem
            tgt : /swarm-cert/sl-1-cert.pem
            subPath : null
        - attribute : {aType: CAPATH, mType: VOLUME, src: certs, tgt: /swarm-cert, subPath: ca/capath}
      slhostname : sl1
      slhostip : 10.0.0.1
      slport : 16000
      slfsservice :
      slenvvars : [SL_LOG_LEVEL: DEBUG, A: True]
      sllabels : [swarm-sl, team=a]
      slnetworkopts :
        - ip : 172.18.0.4
      privatedata :
        src : /site/user1
        mType : BIND
      usrhostname : user1
      usrenvvars : ["DATA_DIR": app-data, "MAX_EPOCHS": 2, ]
      usrlabels :
        hospital : one
        beds : 200
        empty :
      usrnetworkopts : ~
      usrcontaineropts :
        - gpus : "device=3,5"
        - shm-size : "16G"
          ipc : private
  - slnodedef :
      idx : 1
      identity :
        - attribute : {aType: SPIFFE_SOCKETPATH, mType: BIND, src: /run/spire/sockets, tgt: /spire, subPath: agent.sock}
      slhostname : sl2
      slhostip : 10.0.0.1
      slport : 0
      slenvvars : null
      privatedata : null
      usrhostname : user1
      usrenvvars : null
"""  # noqa: E501 - as such files are
SMALL = """\
groupname: demo
nodes:
- slnodedef: {idx: 0}
"""
