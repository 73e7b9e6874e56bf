# The Homebrew formula. `scripts/release_files` replaces the names between @ signs.
class Qwen3Index < Formula
  desc "Folders of documents in, one Parquet file of Qwen3-Embedding vectors out, offline"
  homepage "@HOMEPAGE@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    depends_on arch: :arm64
    url "@REPOSITORY@/releases/download/v@VERSION@/qwen3-index-@VERSION@-aarch64-apple-darwin.tar.gz"
    sha256 "@aarch64-apple-darwin@"
  end

  on_linux do
    on_arm do
      url "@REPOSITORY@/releases/download/v@VERSION@/qwen3-index-@VERSION@-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "@aarch64-unknown-linux-gnu@"
    end
    on_intel do
      url "@REPOSITORY@/releases/download/v@VERSION@/qwen3-index-@VERSION@-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "@x86_64-unknown-linux-gnu@"
    end
  end

  def install
    # The program looks for ONNX Runtime beside itself, also when it is started by the link.
    libexec.install "qwen3-index", Dir["libonnxruntime.*"]
    bin.install_symlink libexec/"qwen3-index"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/qwen3-index.bash" => "qwen3-index"
    fish_completion.install "completions/qwen3-index.fish"
    zsh_completion.install "completions/_qwen3-index"
    doc.install "onnxruntime", Dir["LICENSE-*"]
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/qwen3-index --version")
    # No model is there, but the library is.
    assert_match(/ok +runtime/, shell_output("#{bin}/qwen3-index doctor --offline", 1))
  end
end
