"""C++ stubs of gRPC services."""

def cc_grpc_library(name, src, deps, **kwargs):
    """The services of one .proto file as a cc_library.

    Args:
      name: of the library.
      src: the .proto file, in this package.
      deps: the cc_proto_library of that file.
      **kwargs: passed to cc_library.
    """
    stem = src[:-len(".proto")]
    native.genrule(
        name = name + "_generate",
        srcs = [src] + native.glob(["**/*.proto"], exclude = [src]),
        outs = [stem + ".grpc.pb.h", stem + ".grpc.pb.cc"],
        cmd = "protoc -I. --grpc_out=$(GENDIR) --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin $(location %s)" % src,
    )
    native.cc_library(
        name = name,
        srcs = [stem + ".grpc.pb.cc"],
        hdrs = [stem + ".grpc.pb.h"],
        deps = deps + ["//third_party:grpc"],
        **kwargs
    )
