cache:delete("session:" .. session_id)
