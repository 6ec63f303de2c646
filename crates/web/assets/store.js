/* Stores small JSON values in the browser. If the browser refuses storage, as in private windows,
   the values last only as long as the page. Everything else works. */
function over(name) {
  const spare = new Map();
  const area = () => {
    try {
      return window[name];
    } catch {
      return null;
    }
  };
  return {
    get(key) {
      try {
        return JSON.parse(area().getItem('doorbuster.' + key));
      } catch {
        return spare.get(key) ?? null;
      }
    },
    set(key, value) {
      spare.set(key, value);
      try {
        area().setItem('doorbuster.' + key, JSON.stringify(value));
      } catch {
        /* The browser refuses storage, so the value is only in `spare`. */
      }
    },
    drop(key) {
      spare.delete(key);
      try {
        area().removeItem('doorbuster.' + key);
      } catch {
        /* The browser refuses storage, so there is no value to delete. */
      }
    },
  };
}
/** The storage of this tab. It survives reloads. */
export const tab = over('sessionStorage');
/** The storage of this browser. All its tabs share it. */
export const browser = over('localStorage');
