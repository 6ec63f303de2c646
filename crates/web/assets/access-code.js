/* Asks the buyer for an access code, if the sale requires one. The dialog stays open until a code
   is accepted or the buyer closes it. */
import { $, announce, attr, tell, text } from '/assets/texts.js';

const dialog = $('#code'),
  typed = $('#code-typed'),
  home = $('#announce').parentElement;
let attempt = null;

function say(key) {
  tell($('#code-said'), key);
  attr(typed, 'aria-invalid', key !== '');
  if (key) announce(text(key), true);
}
/** Opens the dialog. `tries(code)` sends the code. It returns `done` or `wrong` or, if the result
   is unknown, `lost`. After a refusal for another reason, `tries` closes the dialog. */
export function openCode(tries, wrong = false) {
  attempt = tries;
  if (!dialog.open) {
    dialog.showModal();
    dialog.append($('#announce'));
  }
  say(wrong ? 'code.wrong' : '');
  typed.focus();
  typed.select();
}
export const isOpen = () => dialog.open;
export function closeCode() {
  if (dialog.open) dialog.close();
}
dialog.onclose = () => {
  if (!dialog.open && dialog.contains($('#announce'))) home.append($('#announce'));
};
$('#code-close').onclick = closeCode;
$('#code-form').onsubmit = async event => {
  event.preventDefault();
  const send = $('#code-send'),
    code = typed.value.trim();
  if (send.getAttribute('aria-disabled') === 'true') return;
  if (!code) {
    say('code.empty');
    return typed.focus();
  }
  attr(send, 'aria-disabled', true);
  say('');
  const came = await attempt(code);
  attr(send, 'aria-disabled', false);
  if (!dialog.open) return;
  if (came === 'done') return closeCode();
  say(came === 'lost' ? 'check.lost' : 'code.wrong');
  typed.focus();
  typed.select();
};
