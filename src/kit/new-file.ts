/** Files that are made once: never over an old one, and whole or not at all. */
import { randomBytes } from "node:crypto";
import { link, open, rm } from "node:fs/promises";

/** Makes a new file (never over an old one) and has it on the disk before it returns. */
export async function writeNewFile(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } catch (caught) {
    await rm(path, { force: true });
    throw caught;
  } finally {
    await file.close();
  }
}

/**
 * Makes a new file that is whole from the moment it has its name. False when there is one already:
 * several processes may try, and exactly one succeeds.
 */
export async function claimFile(path: string, text: string, mode: number): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  await writeNewFile(temporary, text, mode);
  try {
    await link(temporary, path);
    return true;
  } catch (caught) {
    if ((caught as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw caught;
  } finally {
    await rm(temporary, { force: true });
  }
}
