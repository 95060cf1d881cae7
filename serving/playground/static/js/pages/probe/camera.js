/** A picture of the camera; it goes nowhere until it is taken, and then to this server only. */
import { Dialog } from "../../components/dialog.js";
import { html, useEffect, useRef, useState } from "../../dom.js";
import { chosen } from "../../images.js";

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

export function Camera({ open, onClose, onTake }) {
  const video = useRef(null);
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!open) return undefined;
    let stream;
    let closed = false;
    setSaid("");
    navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } }).then(
      (found) => {
        stream = found;
        if (closed) stop();
        else video.current.srcObject = found;
      },
      (error) => setSaid(REASONS[error.name] || "The camera cannot be used."),
    );
    const stop = () => stream?.getTracks().forEach((track) => track.stop());
    return () => {
      closed = true;
      stop();
    };
  }, [open]);

  function take() {
    const { videoWidth, videoHeight } = video.current;
    const side = Math.min(videoWidth, videoHeight);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.min(side, 1024);
    canvas.getContext("2d").drawImage(video.current, (videoWidth - side) / 2, (videoHeight - side) / 2, side, side, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => {
      onTake(chosen(blob, "camera.png"));
      onClose();
    }, "image/png");
  }

  return html`
    <${Dialog} title="Camera" open=${open} onClose=${onClose}>
      ${said ? html`<p class="complaint" role="alert">${said}</p>` : html`<video ref=${video} autoplay playsinline muted></video>`}
      <div class="row"><button type="button" class="primary" disabled=${Boolean(said)} onClick=${take}>Take it</button></div>
    <//>
  `;
}
