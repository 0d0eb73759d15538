/// Files as distributions and engines ship them, shortened.
enum Fixture {
    static let containerdDebian13 = """
        version = 2

        [plugins]
          [plugins."io.containerd.grpc.v1.cri"]
            [plugins."io.containerd.grpc.v1.cri".cni]
              bin_dir = "/usr/lib/cni"
              conf_dir = "/etc/cni/net.d"
          [plugins."io.containerd.internal.v1.opt"]
            path = "/var/lib/containerd"

        """

    /// `containerd config default` of 1.6.20.
    static let containerdDefault2 = """
        disabled_plugins = []
        imports = []
        oom_score = 0
        root = "/var/lib/containerd"
        version = 2

        [debug]
          level = ""

        [plugins]

          [plugins."io.containerd.gc.v1.scheduler"]
            pause_threshold = 0.02
            schedule_delay = "0s"

          [plugins."io.containerd.grpc.v1.cri"]
            sandbox_image = "registry.k8s.io/pause:3.6"

            [plugins."io.containerd.grpc.v1.cri".containerd]
              default_runtime_name = "runc"
              snapshotter = "overlayfs"

              [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]

                [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
                  pod_annotations = []
                  runtime_type = "io.containerd.runc.v2"

                  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
                    BinaryName = ""
                    SystemdCgroup = true

        [stream_processors]

          [stream_processors."io.containerd.ocicrypt.decoder.v1.tar"]
            accepts = ["application/vnd.oci.image.layer.v1.tar+encrypted"]
            env = ["OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf"]

        """

    /// `containerd config default` of 2.1.
    static let containerdDefault3 = """
        version = 3
        root = '/var/lib/containerd'
        imports = []

        [plugins]
          [plugins.'io.containerd.cri.v1.runtime']
            enable_cdi = true
            drain_exec_sync_io_timeout = '0s'

            [plugins.'io.containerd.cri.v1.runtime'.containerd]
              default_runtime_name = 'runc'
              ignore_blockio_not_enabled_errors = false

              [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]
                [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
                  runtime_type = 'io.containerd.runc.v2'
                  container_annotations = []
                  sandboxer = 'podsandbox'

                  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
                    BinaryName = ''
                    SystemdCgroup = false

        """

    /// docker's own package of containerd: it is of version 1.
    static let containerdOfDocker = """
        disabled_plugins = ["cri"]

        #root = "/var/lib/containerd"
        #[grpc]
        #  address = "/run/containerd/containerd.sock"

        """

    /// Debian's /usr/share/containers/containers.conf.
    static let podmanDebian = """
        # The containers configuration file specifies all of the available configuration
        [containers]
        #annotations = []
        log_driver = "journald"

        [engine]
        #hooks_dir = [
        #    "/usr/share/containers/oci/hooks.d",
        #]
        runtime = "crun"

        [engine.runtimes]
        #crun = [
        #  "/usr/bin/crun",
        #]

        """

    static let crio = """
        [crio]
        log_dir = "/var/log/crio/pods"

        [crio.runtime]
        default_runtime = "crun"
        hooks_dir = [
        \t"/usr/share/containers/oci/hooks.d",
        ]

        [crio.runtime.runtimes.crun]
        runtime_path = "/usr/libexec/crio/crun"
        allowed_annotations = [
            "io.containers.trace-syscall",
        ]

        """

    /// A template that adds to what k3s writes, as its documentation shows.
    static let k3s = """
        {{ template "base" . }}

        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes."custom"]
          runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes."custom".options]
          BinaryName = "/usr/bin/custom-container-runtime"
          SystemdCgroup = {{ .SystemdCgroup }}

        """

    static let docker = """
        {
            "log-driver": "journald",
            "http-proxy": "user:secret@proxy:3128",
            "runtimes": {
                "nvidia": {
                    "args": [],
                    "path": "nvidia-container-runtime"
                }
            },
            "default-runtime": "nvidia"
        }

        """
}
